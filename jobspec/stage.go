package jobspec

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
)

// The bounds of stages.
const (
	MaxStages     = 16
	MaxPartitions = 10_000
)

// Stage is one step of a job: a program over the job's input, or over what an
// earlier stage gave.
type Stage struct {
	Name string `json:"name"` // a-z, then up to 31 of a-z, 0-9 and '-'; unique in the spec
	// Needs is the earlier stage that this one reads; none = it reads the
	// spec's inputs. Of one with partitions each task reads one partition,
	// else the stage reads that one's merged result as a job reads an input.
	Needs []string `json:"needs,omitempty"`
	// Side are earlier stages, without partitions, whose merged results every
	// task sees besides, at /inputs/side/NAME.
	Side []string `json:"side,omitempty"`
	// Partitions says that each task leaves at most so many entries in
	// /outputs, "part-00000" and so on; 0 = anything, which is merged.
	Partitions int `json:"partitions,omitempty"`

	Run       Run       `json:"run"`
	Split     Split     `json:"split,omitzero"`     // of what it reads; not of partitions
	Gang      *Gang     `json:"gang,omitempty"`     // its tasks run at the same time and know each other; default they do not
	Merge     Merge     `json:"merge,omitempty"`    // for later stages; default union, concat where Split cuts, shards of a gang. The last one's is the spec's
	Resources Resources `json:"resources,omitzero"` // of one task; default the spec's
}

// CountStages is how many stages s has; one that has none stands for one.
func (s Spec) CountStages() int { return max(1, len(s.Stages)) }

// Stage returns the spec that the tasks of stage i run under: that of a job of
// this stage alone. A stage that needs another one reads no input yet: see
// [Spec.Reading]. Without stages it is s. i is below [Spec.CountStages].
func (s Spec) Stage(i int) Spec {
	if len(s.Stages) == 0 {
		return s
	}
	st, last := s.Stages[i], i == len(s.Stages)-1
	one := s
	one.Stages = nil
	one.Run, one.Split, one.Gang, one.Resources = st.Run, st.Split, st.Gang, st.Resources
	if st.Gang != nil {
		one.Cache = CacheOff // whoever asked for another thing asked for the other stages
	} else {
		one.Timeouts = s.Timeouts.bounded()
	}
	switch {
	case st.Partitions > 0:
		one.Merge = MergeShards
	case !last:
		one.Merge = st.Merge
	}
	if st.Gang == nil {
		one.Place.MinWorkers = 0
	}
	if len(st.Needs) > 0 {
		one.Inputs = nil
		// The owner holds what earlier stages gave; to stay there is not what
		// its author asks for.
		one.Place.Require = maps.Clone(one.Place.Require)
		delete(one.Place.Require, requireData)
	}
	if one = one.WithDefaults(); one.Run.Per != PerItem {
		one.Retry.Items = 0
	}
	return one
}

// Reading returns s with root as its only input, unless that is undefined.
func (s Spec) Reading(root CID) Spec {
	if root.Defined() {
		s.Inputs = []Input{{CID: root.String(), As: AsFiles, At: MountPoint}}
	}
	return s
}

// StageIndex returns the index of the stage of that name, -1 for none.
func (s Spec) StageIndex(name string) int {
	return slices.IndexFunc(s.Stages, func(st Stage) bool { return st.Name == name })
}

// PartsOf is how many partitions stage i reads, one in each of its tasks; 0
// when it reads anything else.
func (s Spec) PartsOf(i int) int {
	if n := s.before(i); n >= 0 {
		return s.Stages[n].Partitions
	}
	return 0
}

// before is the stage that stage i needs, -1 for none.
func (s Spec) before(i int) int {
	if len(s.Stages) == 0 || len(s.Stages[i].Needs) != 1 {
		return -1
	}
	return s.StageIndex(s.Stages[i].Needs[0])
}

// ReadsInputs says whether stage i reads the spec's inputs.
func (s Spec) ReadsInputs(i int) bool {
	return len(s.Inputs) > 0 && (len(s.Stages) == 0 || len(s.Stages[i].Needs) == 0)
}

// stagesWithDefaults fills in what each stage leaves out.
func (s Spec) stagesWithDefaults() []Stage {
	list := slices.Clone(s.Stages)
	for i := range list {
		st := &list[i]
		st.Run.fill()
		st.Gang = st.Gang.withDefaults()
		st.Split.fill(st.Gang)
		if i < len(list)-1 && st.Partitions == 0 {
			st.Merge.fill(st.Split, st.Gang)
		}
		fill(&st.Resources.CPU, s.Resources.CPU)
		fill(&st.Resources.Memory, s.Resources.Memory)
		fill(&st.Resources.Disk, s.Resources.Disk)
		fill(&st.Resources.GPU, s.Resources.GPU)
	}
	return list
}

var stageName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// validateStages checks s.Stages, of which there are some.
func (s Spec) validateStages(l *problemList) {
	if !reflect.ValueOf(s.Run).IsZero() {
		l.add("run", "stands beside stages: each stage has a run of its own")
	}
	if s.Split != (Split{}) {
		l.add("split", "stands beside stages: each stage has a split of its own")
	}
	if s.Gang != nil {
		l.add("gang", "stands beside stages: a stage has a gang of its own")
	}
	if len(s.Stages) > MaxStages {
		l.add("stages", "has %d entries, at most %d are run", len(s.Stages), MaxStages)
	}
	if s.Exposes(ExposeShard) {
		l.add("expose", "is shard, which tasks of stages are not told")
	}
	used := map[string]bool{}
	for i, st := range s.Stages {
		at := joinIndex("stages", i)
		if !stageName.MatchString(st.Name) {
			l.add(at+".name", "is %q: a stage's name begins with a-z and has up to 32 of a-z, 0-9 and '-'", clip(st.Name))
		} else if s.StageIndex(st.Name) < i {
			l.add(at+".name", "%s stands twice", st.Name)
		}
		s.validateReads(l, i, used)
		s.validateStage(l, i)
	}
	for i, st := range s.Stages[:len(s.Stages)-1] {
		if !used[st.Name] {
			l.add(joinIndex("stages", i), "%q is read by no later stage, and only the last one's outputs are the result: name it in needs or side, or leave it out", clip(st.Name))
		}
	}
}

// validateReads checks what stage i names, and notes it in used.
func (s Spec) validateReads(l *problemList, i int, used map[string]bool) {
	st, at := s.Stages[i], joinIndex("stages", i)
	if len(st.Needs) > 1 {
		l.add(at+".needs", "has %d entries, at most 1 is supported by this version", len(st.Needs))
	}
	name := func(path, ref string) (Stage, bool) {
		n := s.StageIndex(ref)
		if n < 0 || n >= i {
			l.add(path, "%q is no earlier stage", clip(ref))
			return Stage{}, false
		}
		used[ref] = true
		return s.Stages[n], true
	}
	for n, ref := range st.Needs {
		name(joinIndex(at+".needs", n), ref)
	}
	for n, ref := range st.Side {
		path := joinIndex(at+".side", n)
		if from, ok := name(path, ref); ok && from.Partitions > 0 {
			l.add(path, "%s has partitions, which have no merged result: name it in needs", ref)
		}
		if slices.Contains(st.Side[:n], ref) {
			l.add(path, "%s stands twice", clip(ref))
		}
	}
	if len(st.Side) > 0 && s.ReadsInputs(i) && s.Inputs[0].As == AsCAR {
		l.add(at+".side", "is shown below /inputs, and the input is a CAR: use inputs[0].as: files")
	}
}

// validateStage checks the program of stage i and how what it reads is divided.
func (s Spec) validateStage(l *problemList, i int) {
	st, at := s.Stages[i], joinIndex("stages", i)
	var sub problemList
	one, parts := s.Stage(i), s.PartsOf(i)
	if len(st.Needs) > 0 && parts == 0 {
		one.Inputs = []Input{{As: AsFiles}} // not known yet
	}
	one.Run.validate(&sub)
	one.Resources.validate(&sub)
	s.validatePartitions(&sub, i, one)
	one.validateGang(&sub, parts)
	switch {
	case parts == 0:
		one.validateSplit(&sub)
		one.validatePer(&sub)
	case one.Split.By != SplitAuto || one.Split.Offsets:
		sub.add("split", "is asked for, and the stage has a task for each of the %d partitions of %s", parts, st.Needs[0])
	case one.Run.Per == PerItem:
		sub.add("run.per", "is item, and each task reads one partition of %s as a whole", st.Needs[0])
	}
	if len(st.Side) > 0 && one.Run.Per == PerItem {
		sub.add("side", "is for run.per: task")
	}
	if st.Merge != "" && (i == len(s.Stages)-1 || st.Partitions > 0) {
		sub.add("merge", "is not for the last stage, whose outputs the spec's merge is about, nor for one with partitions")
	} else if st.Partitions == 0 {
		one.validateMerge(&sub)
	}
	for _, p := range sub {
		if p.Path != "inputs" && !within(p.Path, "inputs[0]") {
			p.Path = at + "." + p.Path
		}
		l.push(p)
	}
}

// validatePartitions checks how many parts the tasks of stage i leave.
func (s Spec) validatePartitions(l *problemList, i int, one Spec) {
	switch n := s.Stages[i].Partitions; {
	case n < 0 || n > MaxPartitions:
		l.add("partitions", "is %d, want 1 to %d", n, MaxPartitions)
	case n > 0 && i == len(s.Stages)-1:
		l.add("partitions", "is %d, and no stage comes behind the last one to read them: leave it out", n)
	case n > 0 && one.Gang != nil:
		l.add("partitions", "is %d, and the tasks of a gang leave a folder each: leave it out", n)
	case n > 0 && one.batches():
		l.add("run.per", "is item, and batches of items leave no partitions: use per: task, or split.by: size, lines or bytes")
	}
}

// hasItems says whether a program runs per: item, in any stage.
func (s Spec) hasItems() bool {
	return s.Run.Per == PerItem || slices.ContainsFunc(s.Stages, func(st Stage) bool { return st.Run.Per == PerItem })
}

// batches says whether tasks are batches of items.
func (s Spec) batches() bool { return s.Run.Per == PerItem && !s.Split.Shards() }
