package main

import (
	"strconv"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// The origins of what is no setting.
const (
	originFixed = "fixed"    // the same on every node
	originSpec  = "job spec" // a job's own, when it does not say
)

// fixed are the bounds that no setting changes, and what a job has that does
// not say, each with its reason.
func fixed() []settingView {
	job := jobspec.Spec{}.WithDefaults()
	bytes := func(n int) string { return jobspec.Bytes(n).String() }
	row := func(origin, name, value, unit, means, why string) settingView {
		return settingView{Name: name, Value: value, Origin: origin, Default: value, Unit: unit, Means: means, Reason: why}
	}
	return []settingView{
		row(originFixed, "spec-size", bytes(jobspec.MaxSpecSize), "bytes", "text of a job spec", "data belongs into an input; a spec is read whole, by anybody's node"),
		row(originFixed, "spec-levels", strconv.Itoa(jobspec.MaxSpecLevels), "levels", "maps and lists within each other in a spec", "no spec has ten; a parser's stack is finite"),
		row(originFixed, "block-size", bytes(ipfs.MaxBlock), "bytes", "one block", "chunks have 1 MiB, and other nodes carry no more than this"),
		row(originFixed, "hamt-width", strconv.Itoa(ipfs.MaxFanout), "links", "width of one node of a large directory", "Kubo makes 256; each slot is memory before it is checked"),
		row(originFixed, "identity-cid", bytes(ipfs.MaxIdentity), "bytes", "data within a CID itself", "as Kubo; such data is stored by nobody and counted by nobody"),
		row(originFixed, "car-header", bytes(ipfs.MaxCARHeader), "bytes", "header of a CAR, with its roots", "room for the 1,000 roots that are taken; it is read whole"),

		row(originSpec, "resources.cpu", job.Resources.CPU.String(), "processors", "--cpu: of one task", "most programs use one"),
		row(originSpec, "resources.memory", job.Resources.Memory.String(), "bytes", "--memory: of one task, swap included", "Python with numpy and a picture fits; many tasks fit a small machine"),
		row(originSpec, "resources.disk", job.Resources.Disk.String(), "bytes", "--disk: size of one task's /outputs", "what is written is stored once more as blocks"),
		row(originSpec, "timeouts.run", job.Timeouts.Run.String(), "duration", "--timeout: of one task's run", "a program that hangs is told within a coffee break"),
		row(originSpec, "timeouts.total", job.Timeouts.Total.String(), "duration", "--total-timeout: of the job, waiting included", "eight runs, so that a queue does not eat a job's own time"),
		row(originSpec, "replicate", strconv.Itoa(job.Holders()), "nodes", "--replicate: that hold a result, where the domain has so many", "one machine may be lost without a warning"),
		row(originSpec, "retry.attempts", strconv.Itoa(job.Retry.Attempts), "tries", "--attempts: of a task that is lost", "a reboot or two; a program's own failure is not tried again"),
	}
}
