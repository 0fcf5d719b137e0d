package mapreduce

import (
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Status is how far a map-reduce is, in its own words.
type Status struct {
	Job     jobspec.JobID     `json:"job"`
	State   jobspec.JobState  `json:"state"`
	Stages  []wire.StageState `json:"stages"` // sample, map and reduce, as far as it has them
	Shuffle Shuffle           `json:"shuffle"`
	Skew    *Skew             `json:"skew,omitempty"` // once two parts were counted, of 1,000 pairs or more on average
	Result  jobspec.CID       `json:"result,omitzero"`

	// Lineage: of each part, and of the map tasks whose runs went into all of
	// them. With the task's shard and key anybody makes the same output.
	Parts []Part           `json:"parts,omitempty"`
	Maps  []wire.TaskState `json:"maps,omitempty"`
}

// Shuffle is what the map tasks of this job gave, those left out that are
// remembered.
type Shuffle struct {
	Pairs int64 `json:"pairs"` // after combining
	Bytes int64 `json:"bytes"` // of sorted runs
}

// Skew compares the largest part with the mean of all that were counted.
type Skew struct {
	Part  int     `json:"part"`
	Pairs int64   `json:"pairs"`
	All   int64   `json:"all_pairs"`
	Ratio float64 `json:"ratio"` // 1 = all parts are equal
}

// Part is one file of the result.
type Part struct {
	Name string `json:"name"` // "part-00000"
	wire.TaskState
	Counted *Counted `json:"counted,omitempty"` // nil = not done, or remembered
}

// Counted is what the task that made a part counted.
type Counted struct {
	Pairs   int64 `json:"pairs"`
	Keys    int64 `json:"keys"`
	Largest int64 `json:"largest_key_pairs"` // pairs of the key that has most
	Bytes   int64 `json:"bytes"`             // of the runs that were merged
	Written int64 `json:"bytes_written"`
}

// StatusOf reads the status off a job's record. It returns false for a job that
// is no map-reduce of this package.
func StatusOf(j wire.Job) (Status, bool) {
	m := j.Spec.StageIndex(StageMap)
	if r := j.Spec.StageIndex(StageReduce); m < 0 || r != m+1 || r != len(j.Spec.Stages)-1 {
		return Status{}, false
	}
	st := Status{Job: j.ID, State: j.State, Stages: j.Stages, Result: j.Result}
	counters := map[int]map[string]int64{}
	for _, at := range j.Attempts {
		if at.Failure == nil && len(at.Counters) > 0 {
			counters[at.ID.Task] = at.Counters
		}
	}
	for _, t := range j.Tasks {
		n := counters[t.Index]
		switch t.Stage {
		case StageMap:
			st.Maps = append(st.Maps, t)
			st.Shuffle.Pairs += n["map.pairs"]
			st.Shuffle.Bytes += n["map.bytes_out"]
		case StageReduce:
			p := Part{Name: fmt.Sprintf("part-%05d", len(st.Parts)), TaskState: t}
			if n != nil {
				p.Counted = &Counted{n["reduce.pairs"], n["reduce.groups"], n["reduce.largest_group"], n["reduce.bytes_in"], n["reduce.bytes_out"]}
			}
			st.Parts = append(st.Parts, p)
		}
	}
	st.Skew = skew(st.Parts)
	return st, true
}

// Of fewer pairs for each part a few keys more or less say nothing.
const skewPairs = 1000

func skew(parts []Part) *Skew {
	s, counted := Skew{}, 0
	for i, p := range parts {
		if p.Counted == nil {
			continue
		}
		counted++
		s.All += p.Counted.Pairs
		if p.Counted.Pairs > s.Pairs {
			s.Part, s.Pairs = i, p.Counted.Pairs
		}
	}
	if counted < 2 || s.All < skewPairs*int64(counted) {
		return nil
	}
	s.Ratio = float64(s.Pairs) * float64(counted) / float64(s.All)
	return &s
}

// Tasks is how many tasks there are, as far as that is known.
func (s Status) Tasks() (n int) {
	for _, st := range s.Stages {
		n += st.Tasks
	}
	return n
}

// Remembered is how many of them earlier jobs have done.
func (s Status) Remembered() (n int) {
	for _, st := range s.Stages {
		n += st.Remembered
	}
	return n
}
