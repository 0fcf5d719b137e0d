package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// askUIDsFor bounds how long the machine is asked about its users, since a
// directory service may be far away.
const askUIDsFor = 2 * time.Second

// samples are how many numbers of containers the machine is asked about, from the
// first to the last. A service that gives out ranges as large as they are apart,
// a million, does not slip through.
const samples = 17

// AskUIDs asks the machine by getent whether users or groups that are in no file,
// such as those of SSSD, LDAP and systemd, have numbers that this node gives to
// containers: then the error is of kind E_POLICY. It asks about some numbers only,
// for two seconds in all; any other error says that there was no answer. A machine
// without getent has no such users.
func AskUIDs(ctx context.Context) error { return askUIDs(ctx, askUIDsFor) }

func askUIDs(ctx context.Context, within time.Duration) error {
	getent, err := exec.LookPath("getent")
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %s", within))
	defer cancel()
	for _, database := range []string{"passwd", "group"} {
		if err := askDatabase(ctx, getent, database); err != nil {
			return err
		}
	}
	return nil
}

// askDatabase asks about all numbers at once.
func askDatabase(ctx context.Context, getent, database string) error {
	args := []string{database}
	for i := range samples {
		args = append(args, strconv.Itoa(uidBase+uidMask*i/(samples-1)))
	}
	cmd := exec.CommandContext(ctx, getent, args...)
	cmd.WaitDelay = time.Second // for children that keep the pipe
	out, err := cmd.Output()
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(line, ":")
		if id, _, ok := one(fields); ok && id >= uidBase && id <= uidBase+uidMask {
			return someones("getent "+database, fields[0], id, "have the service that names it (passwd and group in /etc/nsswitch.conf) use others")
		}
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("getent %s: %w", database, context.Cause(ctx))
	case err != nil && !(errors.As(err, &exit) && exit.ExitCode() == notFound):
		return fmt.Errorf("getent %s: %w", database, err)
	}
	return nil
}

// notFound is getent's exit code where a number is nobody's.
const notFound = 2
