package sidecar

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/pip"
	"github.com/ipdc/ipdc/wire/guest"
)

// taskPaths are the host paths of one attempt.
type taskPaths struct {
	Prefix       string // of the container's name
	Guest        string // binary
	Run          string // directory with task.json
	Code, Input  string // staged directories; "" = none
	Dependencies string // likewise
	Outputs      string
	Report       string
	Net, CA      string   // directory of the proxy's socket, certificate authorities; "" = none
	Peers        string   // directory of the socket to the gang's other tasks; "" = none
	Checkpoint   string   // in a gang: staged directory; "" = there is none yet
	Exposed      []string // variables of the run that the program asks for, and of its gang
	CgroupParent string
	Limits       Limits
}

// containerTask says what the executor is to run for an attempt. It is a pure
// function; testdata/container holds its golden files.
func containerTask(spec jobspec.Spec, plan jobspec.Plan, id jobspec.AttemptID, p taskPaths) executor.Task {
	uid, limits := containerUID(id.Job), p.Limits.withDefaults()
	mounts := []executor.Mount{
		{Source: p.Guest, Target: guest.Binary, ReadOnly: true},
		{Source: filepath.Join(p.Run, taskFile), Target: guest.TaskFile, ReadOnly: true},
		{Source: filepath.Join(p.Run, hostsFile), Target: "/etc/hosts", ReadOnly: true},
		{Source: p.Report, Target: guest.ReportDir},
		{Source: p.Outputs, Target: guest.Outputs},
	}
	if p.Code != "" {
		mounts = append(mounts, executor.Mount{Source: p.Code, Target: guest.Code, ReadOnly: true})
	}
	env := environment(spec.Run.Env)
	if p.Dependencies != "" {
		mounts = append(mounts, executor.Mount{Source: p.Dependencies, Target: pip.Target, ReadOnly: true})
		env = environment(withPackages(spec.Run.Env))
	}
	env = append(env, p.Exposed...)
	input, workDir := inputMount(plan, p)
	mounts = append(mounts, input)
	if p.Net != "" {
		mounts = append(mounts, executor.Mount{Source: p.Net, Target: guest.NetDir, ReadOnly: true})
	}
	if p.Peers != "" {
		mounts = append(mounts,
			executor.Mount{Source: p.Peers, Target: guest.PeersDir, ReadOnly: true},
			executor.Mount{Source: cmp.Or(p.Checkpoint, filepath.Join(p.Run, emptyDir)), Target: guest.Checkpoint, ReadOnly: true})
	}
	if p.CA != "" {
		mounts = append(mounts, executor.Mount{Source: p.CA, Target: guest.CAFile, ReadOnly: true})
	}
	return executor.Task{
		Name: p.Prefix + id.String(), Image: plan.Image,
		Command: []string{guest.Binary}, First: true, Env: env, WorkDir: workDir,
		UID: uid, GID: uid, Mounts: mounts,
		CPU: spec.Resources.CPU, Memory: spec.Resources.Memory, GPU: spec.Resources.GPU,
		Pids: limits.Pids, NoFile: limits.NoFile, Tmp: limits.Tmp, Shm: limits.Shm, LogSize: limits.Log,
		CgroupParent: p.CgroupParent, Strict: spec.Isolation == jobspec.IsolationStrict,
	}
}

// inputMount shows the input, and says where the program starts.
func inputMount(plan jobspec.Plan, p taskPaths) (m executor.Mount, workDir string) {
	switch {
	case plan.As == jobspec.AsCAR:
		return executor.Mount{Source: filepath.Join(p.Input, inputcache.CAR), Target: guest.InputsCAR, ReadOnly: true}, "/"
	case p.Input == "":
		return executor.Mount{Source: filepath.Join(p.Run, emptyDir), Target: guest.Inputs, ReadOnly: true}, guest.Inputs
	}
	return executor.Mount{Source: p.Input, Target: guest.Inputs, ReadOnly: true}, guest.Inputs
}

// withPackages puts the installed packages before what the user's own
// PYTHONPATH names.
func withPackages(user map[string]string) map[string]string {
	env := maps.Clone(user)
	if env == nil {
		env = map[string]string{}
	}
	env["PYTHONPATH"] = strings.TrimSuffix(pip.Target+":"+user["PYTHONPATH"], ":")
	return env
}

// environment is what every program sees: the same on every node, as keys hold
// only the user's part of it.
func environment(user map[string]string) []string {
	env := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC",
		"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0",
	}
	maps.Copy(env, user)
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// UIDs of containers: one per job out of 16 million, 2013265920 to 2030043135.
// They lie above what systemd has for containers (up to 1879048191,
// https://systemd.io/UIDS-GIDS/) and what SSSD and FreeIPA give to users of a
// directory by default (up to 2000200000, ldap_idmap_range_max of sssd-ldap(5)),
// and below systemd's range for foreign files (from 2147352576) and 2^31, as some
// programs read them as signed.
const (
	uidBase = 0x78000000
	uidMask = 0x00ffffff
)

func containerUID(job jobspec.JobID) int {
	sum := sha256.Sum256([]byte(job))
	return uidBase + int(binary.BigEndian.Uint32(sum[:])&uidMask)
}

// Names in an attempt's run directory.
const (
	taskFile  = "task.json"
	hostsFile = "hosts"
	emptyDir  = "empty"
)

// writeTask writes what the guest reads and what localhost is, and the other
// tasks of a gang. The directory's
// parent is private to the node's user.
func writeTask(dir string, spec jobspec.Spec, task jobspec.Task, peers *jobspec.Peers) error {
	run := spec.Run
	t := guest.Task{Command: run.Command, Feed: guest.Feed(run.Feed), KeepGoing: run.KeepGoing, Retries: spec.Retry.Items}
	t.Memory, t.CPU = int64(spec.Resources.Memory), int64(spec.Resources.CPU)
	if run.Per == jobspec.PerTask {
		t.Feed = guest.FeedNone
	}
	t.Peers, t.Self = guestPeers(peers)
	for _, it := range task.Items {
		t.Items = append(t.Items, guest.Item{Path: it.Path, Size: it.Size})
	}
	b, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	empty := filepath.Join(dir, emptyDir)
	// Modes are set apart from making, as the node runs with umask 077.
	if err := errors.Join(os.MkdirAll(empty, 0o755), os.Chmod(empty, 0o555)); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	return errors.Join(
		writeShared(filepath.Join(dir, hostsFile), []byte(hostsOf(peers))),
		writeShared(filepath.Join(dir, taskFile), b),
	)
}

// writeShared writes a file that the container's user may read.
func writeShared(file string, b []byte) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err // written by this attempt before; a container may have it mounted
	}
	tmp := file + ".tmp"
	if err := errors.Join(os.WriteFile(tmp, b, 0o600), os.Chmod(tmp, 0o444)); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(file), err)
	}
	return os.Rename(tmp, file)
}
