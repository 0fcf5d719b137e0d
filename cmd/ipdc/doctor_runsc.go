package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/ipdc/ipdc/executor/docker"
)

// checkRunsc looks at gVisor's runsc, where it is what strict jobs have.
func checkRunsc(ctx context.Context, f docker.Facts) []finding {
	if !strings.HasPrefix(filepath.Base(f.StrictPath), "runsc") {
		return nil
	}
	if !strings.HasPrefix(f.Host, "unix://") {
		return []finding{ok("runsc", "its release is not known, as the engine is not on this machine")}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, f.StrictPath, "--version").Output()
	return []finding{judgeRunsc(string(out), err, time.Now())}
}

// runscRelease reads "runsc version release-20260907.0", and what a build by the
// go command says, "runsc version v0.0.0-20260905035102-160fafc42237".
var runscRelease = regexp.MustCompile(`(?m)^runsc version ((?:release-|v0\.0\.0-)(\d{8})\S*)`)

// oldRunsc is for how long a release of gVisor is trusted.
const oldRunsc = 365 * 24 * time.Hour

// judgeRunsc goes by the release's day. gVisor makes a release each week and
// mends the newest one only; its few CVEs name commits or days and no releases
// (https://nvd.nist.gov/vuln/detail/CVE-2023-7258, and
// https://github.com/google/gvisor/security for which holes get one at all).
func judgeRunsc(said string, err error, now time.Time) finding {
	const advice = "gVisor mends its newest release only: install that (https://gvisor.dev/docs/user_guide/install/, or scripts/runsc.sh of ipdc's source)"
	if err != nil {
		return ok("runsc", "its release is not known: %v", err).warn("see that the program which the engine has as this runtime can be run: docker info")
	}
	m := runscRelease.FindStringSubmatch(said)
	if m == nil {
		return ok("runsc", "its release is not known: it says %q", firstLine(said)).warn(advice)
	}
	day, err := time.Parse("20060102", m[2])
	if err != nil {
		return ok("runsc", "%s, which is no day", m[1]).warn(advice)
	}
	f := ok("runsc", "%s; no holes are known by release, so its day counts", m[1])
	if age := now.Sub(day); age > oldRunsc {
		f.Found = fmt.Sprintf("%s is %d days old", m[1], int(age.Hours()/24))
		return f.warn(advice)
	}
	return f
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
