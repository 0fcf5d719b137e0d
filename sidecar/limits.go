package sidecar

import (
	"cmp"
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
)

// Limits bound each container, what is split, and what one tenant may queue. A
// field that is zero has the default in its comment; the reasons stand where
// they are settings (ipdc config show).
type Limits struct {
	Pids   int64         // processes and threads of a container; 256
	NoFile int64         // open files of one process; 1,024
	Tmp    jobspec.Bytes // /tmp; 64 MiB
	Shm    jobspec.Bytes // /dev/shm; 16 MiB
	Log    jobspec.Bytes // kept of one attempt's output; 10 MiB
	Files  int64         // files that a task may write to /outputs; 10,000

	Dataset int64 // files and directories of an input that is split; 1,000,000

	Task jobspec.Resources // what one task may ask for; default the node's capacity
	Run  jobspec.Duration  // likewise; no limit
	Jobs int               // of one tenant that have not ended; 10,000

	Schedules int              // of one tenant; 100
	Interval  jobspec.Duration // the least between two instants of a schedule; 1 min
}

func (l Limits) withDefaults() Limits {
	l.Pids = cmp.Or(l.Pids, 256)
	l.NoFile = cmp.Or(l.NoFile, 1024)
	l.Tmp = cmp.Or(l.Tmp, 64*jobspec.MiB)
	l.Shm = cmp.Or(l.Shm, 16*jobspec.MiB)
	l.Log = cmp.Or(l.Log, 10*jobspec.MiB)
	l.Files = cmp.Or(l.Files, 10_000)
	l.Dataset = cmp.Or(l.Dataset, 1_000_000)
	l.Jobs = cmp.Or(l.Jobs, 10_000)
	return l
}

// installs have many small files: tensorflow and what it needs, with byte
// code, are 60,000.
const installFiles = 200_000

// files returns how many files a task of the job may write.
func (l Limits) files(job jobspec.Job) int64 {
	if job.Parent != "" {
		return max(l.Files, installFiles)
	}
	return l.Files
}

// guestFiles are what a task with partitions writes besides: its report, and
// spills of what memory does not hold.
const guestFiles = 256

// checkPartitions refuses a stage whose tasks would leave more files, one for each
// partition, than a task may write here.
func (l Limits) checkPartitions(s jobspec.Spec) error {
	most := l.withDefaults().Files - guestFiles
	for i, st := range s.Stages {
		if int64(st.Partitions) > max(most, 1) {
			return jobspec.Failure{
				Kind: jobspec.KindPolicy, Where: fmt.Sprintf("stages[%d].partitions", i),
				Detail: fmt.Sprintf("asked %d: a task writes a file for each, and %d of its own; this node lets one task write %d", st.Partitions, guestFiles, most+guestFiles),
				Hint:   fmt.Sprintf("ask for %d or fewer (mr run: -k), or raise the node's setting task-files", max(most, 1)),
			}.Error()
		}
	}
	return nil
}

// within returns what one task may have of a node's capacity.
func (l Limits) within(r jobspec.Resources) jobspec.Resources {
	if l.Task.CPU > 0 {
		r.CPU = min(r.CPU, l.Task.CPU)
	}
	if l.Task.Memory > 0 {
		r.Memory = min(r.Memory, l.Task.Memory)
	}
	if l.Task.Disk > 0 {
		r.Disk = min(r.Disk, l.Task.Disk)
	}
	return r
}

// check refuses a spec that asks for more than one task may have here.
func (l Limits) check(s jobspec.Spec) error {
	ask, most := s.Resources, l.Task
	over := func(setting, what string, ask, most any) error {
		return jobspec.Failure{
			Kind: jobspec.KindPolicy, Where: what,
			Detail: fmt.Sprintf("asked %s, this node gives one task %s at most", ask, most),
			Hint:   fmt.Sprintf("lower %s in the spec, or raise the node's setting %s", what, setting),
		}.Error()
	}
	switch {
	case most.CPU > 0 && ask.CPU > most.CPU:
		return over("task-cpu", "resources.cpu", ask.CPU, most.CPU)
	case most.Memory > 0 && ask.Memory > most.Memory:
		return over("task-memory", "resources.memory", ask.Memory, most.Memory)
	case most.Disk > 0 && ask.Disk > most.Disk:
		return over("task-disk", "resources.disk", ask.Disk, most.Disk)
	case l.Run > 0 && s.Timeouts.Run > l.Run:
		return over("task-run", "timeouts.run", s.Timeouts.Run, l.Run)
	}
	return nil
}
