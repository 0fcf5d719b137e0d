package executor

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ipdc/ipdc/jobspec"
)

var (
	taskName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$`)
	imageID  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
)

// Validate returns all that is wrong with t, or nil. Every adapter refuses a
// task that is not valid, so that a limit that was forgotten never means "no
// limit" and a user that was forgotten never means root.
func (t Task) Validate() error {
	var bad []error
	say := func(ok bool, format string, a ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf(format, a...))
		}
	}
	say(taskName.MatchString(t.Name), "name %q is no container name", t.Name)
	say(imageID.MatchString(t.Image.String()), "image %q is no image id", t.Image)
	say(len(t.Command) > 0 && t.Command[0] != "", "the command is empty")
	say(cleanAbs(t.WorkDir), "working directory %q is not a clean absolute path", t.WorkDir)
	say(t.UID > 0 && t.GID > 0, "user %d:%d: neither may be 0", t.UID, t.GID)
	// The engines' APIs are JSON, which would alter other bytes silently.
	for _, s := range slices.Concat(t.Command, t.Env, []string{t.WorkDir}) {
		say(utf8.ValidString(s) && !strings.Contains(s, "\x00"), "%q is not valid UTF-8 without NUL", s)
	}
	for _, e := range t.Env {
		say(envName.MatchString(e), "environment %q is not NAME=value", e)
	}
	for _, limit := range []struct {
		name       string
		value, min int64
	}{
		{"cpu", int64(t.CPU), 10}, {"memory", int64(t.Memory), int64(jobspec.MinMemory)}, {"pids", t.Pids, 8},
		{"open files", t.NoFile, 16}, {"tmp", int64(t.Tmp), 4096}, {"shm", int64(t.Shm), 4096},
		{"log size", int64(t.LogSize), 64 << 10},
	} {
		say(limit.value >= limit.min, "%s limit is %d, less than %d", limit.name, limit.value, limit.min)
	}
	say(t.GPU >= 0, "%d GPUs are asked for", t.GPU)
	return errors.Join(append(bad, checkMounts(t.Mounts)...)...)
}

func checkMounts(mounts []Mount) (bad []error) {
	seen := map[string]bool{"/tmp": true, "/dev/shm": true}
	for _, m := range mounts {
		switch {
		case !cleanAbs(m.Source) || m.Source == "/":
			bad = append(bad, fmt.Errorf("mount source %q is not a clean absolute path below /", m.Source))
		case !cleanAbs(m.Target) || m.Target == "/" || reserved(m.Target):
			bad = append(bad, fmt.Errorf("mount target %q is not allowed", m.Target))
		case seen[m.Target]:
			bad = append(bad, fmt.Errorf("mount target %q is taken", m.Target))
		}
		seen[m.Target] = true
	}
	return bad
}

// reserved reports whether p lies in a tree that the kernel or the engine
// fills.
func reserved(p string) bool {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

func cleanAbs(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && utf8.ValidString(p) && !strings.Contains(p, "\x00")
}
