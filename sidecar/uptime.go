package sidecar

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/jobspec"
)

// uptime is how long the machine has run since its boot, without the time that
// it was suspended: programs stand still then, too.
func uptime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // never fails
	return time.Duration(ts.Nano())
}

// elapsed is how long ago something was noted, at a time and an uptime. It goes
// by the uptime, which goes on over restarts of the node and which nobody sets;
// by the clock where there is none, in the record of an earlier version, or
// where the machine was booted since.
func (s *Sidecar) elapsed(at time.Time, up jobspec.Duration) time.Duration {
	if now := s.cfg.Uptime(); up > 0 && now >= up.Std() {
		return now - up.Std()
	}
	return max(s.now().Sub(at), 0)
}
