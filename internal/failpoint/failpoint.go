// Package failpoint ends the process, or fails, at a named place, so that
// tests can crash a real node between any two of its steps.
//
//	failpoint.Hit("created.after-effect")
//	if err := failpoint.Hit("migrate.commit"); err != nil { return err }
//
//	IPDC_FAILPOINT=created.after-effect=kill ipdc node start
//	IPDC_FAILPOINT=a.before=kill,b.after=error
//
// Invariants: the variable is read once, at the first Hit; without it Hit does
// nothing and allocates nothing; a value that cannot be understood panics, so
// that a misspelt crash test cannot pass.
package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// Env is the name of the variable: NAME=ACTION[,NAME=ACTION...].
const Env = "IPDC_FAILPOINT"

// ErrInjected is wrapped by the error of the action "error".
var ErrInjected = errors.New("injected failure")

// The actions.
const (
	kill  = "kill"  // SIGKILL to the process itself
	crash = "panic" // as a bug would
	fail  = "error" // Hit returns an error
)

var actions = sync.OnceValue(func() map[string]string { return mustParse(os.Getenv(Env)) })

// Hit does what the environment asks for at the place name: kill the process,
// panic, or return an error that wraps [ErrInjected]. A place where nothing can
// fail may ignore the error.
func Hit(name string) error {
	set := actions()
	if set == nil {
		return nil
	}
	switch set[name] {
	case kill:
		dieNow()
	case crash:
		panic("failpoint " + name)
	case fail:
		return fmt.Errorf("failpoint %s: %w", name, ErrInjected)
	}
	return nil
}

// dieNow returns never: a signal to oneself may be delivered a moment later,
// and nothing may happen in that moment.
func dieNow() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {}
}

func mustParse(s string) map[string]string {
	if s == "" {
		return nil
	}
	set := map[string]string{}
	for entry := range strings.SplitSeq(s, ",") {
		name, action, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok || name == "" || (action != kill && action != crash && action != fail) {
			panic(fmt.Sprintf("%s: %q is not NAME=kill, NAME=panic or NAME=error", Env, entry))
		}
		set[name] = action
	}
	return set
}
