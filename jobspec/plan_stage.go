package jobspec

import "slices"

// PlanStage is what was resolved of one stage. Until it is planned, which is
// when all that it reads is there, it has no tasks.
type PlanStage struct {
	Image        ImageID  `json:"image"`
	Arch         string   `json:"arch"`
	Dependencies CID      `json:"dependencies,omitzero"`
	Packages     []string `json:"packages,omitempty"`

	Planned bool `json:"planned,omitempty"`
	SpecCID CID  `json:"spec_cid,omitzero"` // of the spec that its tasks run under, see [Spec.Stage]
	Input   CID  `json:"input,omitzero"`    // what it reads, as Plan.Input; undefined when it reads partitions
	As      As   `json:"as,omitempty"`      //
	First   int  `json:"first,omitempty"`   // index of its first task
	Count   int  `json:"count,omitempty"`   // of its tasks, those that are remembered included
	Items   CID  `json:"items,omitzero"`    // what was remembered of single items, as one tree
}

// KeptTask is a task that an earlier job has done.
type KeptTask struct {
	Stage  int   `json:"stage,omitempty"`
	Index  int   `json:"index"` // as Task.Index
	Key    CID   `json:"key"`
	Shard  CID   `json:"shard,omitzero"`
	Output CID   `json:"output"`
	Job    JobID `json:"job,omitempty"` // that did it; "" = one of another tenant
}

// Stage returns the plan of stage i alone, which is what a job of this stage
// alone has, but for the numbers of its tasks. Of a plan without stages it is
// the plan.
func (p Plan) Stage(i int) Plan {
	if len(p.Stages) == 0 {
		return p
	}
	st := p.Stages[i]
	one := Plan{
		SpecCID: st.SpecCID, Image: st.Image, Arch: st.Arch, Input: st.Input, As: st.As, Tasks: []Task{},
		Dependencies: st.Dependencies, Packages: st.Packages,
	}
	for _, t := range p.Tasks {
		if t.Stage == i {
			t.Stage = 0
			one.Tasks = append(one.Tasks, t)
		}
	}
	for _, k := range p.Kept {
		if k.Stage == i {
			k.Stage = 0
			one.Kept = append(one.Kept, k)
		}
	}
	return one
}

// Planned is how many stages have been planned.
func (p Plan) Planned() int {
	if len(p.Stages) == 0 {
		return 1
	}
	if i := slices.IndexFunc(p.Stages, func(st PlanStage) bool { return !st.Planned }); i >= 0 {
		return i
	}
	return len(p.Stages)
}

// Next returns the index of the first task of the next stage to be planned.
func (p Plan) Next() int {
	if n := p.Planned(); n > 0 && len(p.Stages) > 0 {
		return p.Stages[n-1].First + p.Stages[n-1].Count
	}
	return 0
}

// WithStage returns p with the next stage planned as one is, whose tasks begin
// at p.Next(). count is how many tasks it has, with those in one.Kept.
func (p Plan) WithStage(one Plan, count int) Plan {
	i, first := p.Planned(), p.Next()
	p.Stages, p.Tasks, p.Kept = slices.Clone(p.Stages), slices.Clone(p.Tasks), slices.Clone(p.Kept)
	st := &p.Stages[i]
	st.Planned, st.SpecCID, st.Input, st.As, st.First, st.Count = true, one.SpecCID, one.Input, one.As, first, count
	for _, t := range one.Tasks {
		t.Stage = i
		p.Tasks = append(p.Tasks, t)
	}
	for _, k := range one.Kept {
		k.Stage = i
		p.Kept = append(p.Kept, k)
	}
	return p
}

// StageOf returns the stage of the task of that index.
func (p Plan) StageOf(index int) int {
	for i := len(p.Stages) - 1; i > 0; i-- {
		if p.Stages[i].Planned && index >= p.Stages[i].First {
			return i
		}
	}
	return 0
}

// Numbered returns p with the tasks that it has numbered from first on.
func (p Plan) Numbered(first int) Plan {
	p.Tasks = slices.Clone(p.Tasks)
	for i := range p.Tasks {
		p.Tasks[i].Index = first + i
	}
	return p
}
