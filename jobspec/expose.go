package jobspec

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Exposure is something of a run that a program asks to be told.
type Exposure string

// The values of Exposure, with the variables of the program's environment.
const (
	ExposeShard Exposure = "shard" // IPDC_INPUT_ROOT, IPDC_SHARD_INDEX, _COUNT and _PATH, BACALHAU_PARTITION_INDEX and _COUNT
	ExposeJob   Exposure = "job"   // IPDC_JOB
	ExposeNode  Exposure = "node"  // IPDC_NODE
)

// Exposes says whether the program asks for e.
func (s Spec) Exposes(e Exposure) bool { return slices.Contains(s.Expose, e) }

// varies says whether what is exposed is another thing each time: a job's id,
// the node, and the batches of items, which depend on who is free.
func (s Spec) varies() bool {
	return s.Exposes(ExposeJob) || s.Exposes(ExposeNode) || s.Exposes(ExposeShard) && s.Run.Per == PerItem && !s.Split.Shards()
}

func (s Spec) validateExpose(l *problemList) {
	for i, e := range s.Expose {
		at := joinIndex("expose", i)
		oneOf(l, at, e, ExposeShard, ExposeJob, ExposeNode)
		if slices.Contains(s.Expose[:i], e) {
			l.add(at, "%s stands twice", e)
		}
	}
	if s.varies() && s.Cache != CacheOff {
		l.add("cache", "is %s, and what is exposed changes from run to run: leave it out, or let the program do without", s.Cache)
	}
}

// Exposed returns the variables that the program of a task is told, sorted, as
// NAME=VALUE. job is the owner's id of the job, node the peer id of who runs it.
func (s Spec) Exposed(p Plan, t Task, job, node string) []string {
	env := map[string]string{}
	if s.Exposes(ExposeShard) {
		index, count := fmt.Sprint(t.Index), fmt.Sprint(t.Count)
		env["IPDC_SHARD_INDEX"], env["BACALHAU_PARTITION_INDEX"] = index, index
		env["IPDC_SHARD_COUNT"], env["BACALHAU_PARTITION_COUNT"] = count, count
		env["IPDC_SHARD_PATH"], env["IPDC_INPUT_ROOT"] = t.Path, p.Input.String()
	}
	if s.Exposes(ExposeJob) {
		env["IPDC_JOB"] = job
	}
	if s.Exposes(ExposeNode) {
		env["IPDC_NODE"] = node
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// CommonPath returns the longest path that all of these begin with, whole
// names only: the path itself of one file, "" for none and where they have
// nothing in common.
func CommonPath(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	common := paths[0]
	for _, p := range paths[1:] {
		for common != "" && p != common && !strings.HasPrefix(p, common+"/") {
			if common = path.Dir(common); common == "." {
				common = ""
			}
		}
	}
	return common
}

func commonPathOf(items []Item) string {
	paths := make([]string, len(items))
	for i, it := range items {
		paths[i] = it.Path
	}
	return CommonPath(paths)
}
