package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/volume"
)

func (a *app) checkGuest(context.Context) []finding {
	path, err := (&node{set: a.set}).guest()
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return []finding{ok("guest", "%v", err).fail("put ipdc-guest beside ipdc (make build makes both), or name it with IPDC_GUEST")}
	}
	return []finding{ok("guest", "%s", path)}
}

// checkOutputs makes a bounded volume, as a node does for each task, unless the
// node that runs says that it could not: one in a container is asked from outside.
func (a *app) checkOutputs(ctx context.Context) []finding {
	const advice = "a program may write more than its bound for a moment; run the node as root on the host, with e2fsprogs and loop devices, to let the kernel refuse it"
	if a.nodeHasWatchdog(ctx) {
		return []finding{ok("outputs", "bounded by a watchdog only in the node that runs").warn(advice)}
	}
	dir, err := os.MkdirTemp(existing(a.set.Path), ".ipdc-doctor-")
	if err != nil {
		return []finding{ok("outputs", "%v", err).fail("the state directory must be this user's: give another with --path or IPDC_PATH")}
	}
	defer os.RemoveAll(dir)
	var log bytes.Buffer
	pool, err := volume.Open(ctx, volume.Config{Dir: filepath.Join(dir, "volumes"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		return []finding{ok("outputs", "%v", err).fail("the state directory cannot hold outputs: give another with --path or IPDC_PATH")}
	}
	if pool.Method() == volume.MethodExt4 {
		return []finding{ok("outputs", "bounded by the kernel (ext4 on a loop device), tried in %s", filepath.Dir(dir))}
	}
	_, why, _ := strings.Cut(strings.TrimSpace(log.String()), "err=")
	return []finding{ok("outputs", "bounded by a watchdog only: %s", strings.Trim(why, `"`)).
		warn(advice)}
}

func (a *app) nodeHasWatchdog(ctx context.Context) bool {
	c, err := a.client()
	if err != nil {
		return false
	}
	defer c.Close()
	n, err := c.Node(ctx)
	return err == nil && n.Outputs == volume.MethodWatchdog
}

// existing is the nearest directory above path that is there.
func existing(path string) string {
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		up := filepath.Dir(path)
		if up == path {
			return path
		}
		path = up
	}
}

func (a *app) checkDisk(context.Context) []finding {
	free, total, err := diskSpace(existing(a.set.Path))
	if err != nil {
		return []finding{ok("disk", "%v", err).fail("give another state directory with --path or IPDC_PATH")}
	}
	return []finding{judgeDisk(free, total, a.set.MinFree, a.set.Path)}
}

// judgeDisk goes by the bound below which a node takes nothing new; see
// sidecar/room.
func judgeDisk(free, total, minFree jobspec.Bytes, path string) finding {
	minFree = cmp.Or(minFree, min(total/20, 10*jobspec.GiB))
	f := ok("disk", "%s free of %s at %s; nothing new is taken below %s (min-free)",
		size(int64(free)), size(int64(total)), path, size(int64(minFree)))
	const advice = "free some: ipdc job prune --older-than 30d, ipdc node gc, docker system prune; or move the state with IPDC_PATH"
	switch {
	case free < minFree:
		return f.fail(advice)
	case free < max(2*minFree, minFree+jobspec.DefaultDisk): // a task's outputs come beside it
		return f.warn(advice)
	}
	return f
}

func diskSpace(path string) (free, total jobspec.Bytes, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("free disk of %s: %w", path, err)
	}
	block := jobspec.Bytes(st.Bsize)
	return jobspec.Bytes(st.Bavail) * block, jobspec.Bytes(st.Blocks) * block, nil
}

// checkMachine looks at the clock and at the processor's virtualisation.
func checkMachine(context.Context) []finding {
	return []finding{judgeClock(time.Now()), judgeKVM(os.OpenFile("/dev/kvm", os.O_RDWR, 0))}
}

// firstDay is before any release of this program: a clock that shows less has
// not been set since the machine's start.
var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func judgeClock(now time.Time) finding {
	f := ok("clock", "%s", now.UTC().Format(time.RFC3339))
	if now.Before(firstDay) {
		return f.fail("the clock is behind: certificates would be refused and jobs time out; set it (timedatectl set-ntp true)")
	}
	return f
}

func judgeKVM(dev *os.File, err error) finding {
	switch {
	case err == nil:
		_ = dev.Close()
		return ok("kvm", "/dev/kvm can be used, so that Kata or gVisor's KVM platform would work")
	case errors.Is(err, fs.ErrNotExist):
		return ok("kvm", "the machine has no /dev/kvm; Kata containers cannot run, gVisor can")
	}
	return ok("kvm", "/dev/kvm is there and not for this user (%v)", err)
}

// checkNamespaces says whether programs without rights may be root in a user
// namespace of their own, by which many holes of kernels are reached.
func checkNamespaces(context.Context) []finding {
	most, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	clone, _ := os.ReadFile("/proc/sys/kernel/unprivileged_userns_clone") // Debian's and Ubuntu's only
	return []finding{judgeNamespaces(strings.TrimSpace(string(most)), strings.TrimSpace(string(clone)), err)}
}

func judgeNamespaces(most, clone string, err error) finding {
	switch {
	case err != nil:
		return ok("userns", "the kernel has no user namespaces")
	case most == "0" || clone == "0":
		return ok("userns", "off for programs without rights; a node without root runs no WASI modules then")
	}
	return ok("userns", "on, %s at most; the engine's seccomp profile keeps jobs from making any", most)
}

// checkUIDs says whether somebody on this machine has numbers of containers.
func checkUIDs(ctx context.Context) []finding {
	return []finding{judgeUIDs(sidecar.CheckUIDs("/etc"), sidecar.AskUIDs(ctx))}
}

func judgeUIDs(files, asked error) finding {
	for _, err := range []error{files, asked} {
		if errors.Is(err, jobspec.KindPolicy.Error()) {
			f := jobspec.AsFailure(err)
			return ok("uids", "%s", f.Detail).fail("a node does not start: " + f.Hint)
		}
	}
	switch {
	case files != nil:
		return ok("uids", "%v", files).fail("a node does not start: mend that file")
	case asked != nil:
		return ok("uids", "nobody in /etc has those of containers; users of services are not known: %v", asked).
			warn("mend what answers getent passwd (passwd and group in /etc/nsswitch.conf), so that nobody has containers' numbers unseen")
	}
	return ok("uids", "nobody has those of containers, as far as the files in /etc and getent tell")
}
