package sidecar_test

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// asked is one call of a client about one job, which it names by a key.
type asked struct {
	key    string
	submit bool // else it reads
}

// told is what came of it. All of it is empty for a submit that was cut off: the
// job may be there or not. A read that was is not recorded.
type told struct {
	id   string // "" = no such job
	ends string // state, result and kind of failure; "" = not yet
}

// kept is what is true of one job at one time.
type kept struct {
	id   string // "" = none, "?" = some that nobody was told
	ends string
}

// jobModel says which histories are those of a node that keeps its word: a job
// that was acknowledged is there, once, however often it was submitted; it ends
// once, and in one way.
var jobModel = (&porcupine.NondeterministicModel{
	Partition: func(all []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string][]porcupine.Operation{}
		for _, o := range all {
			key := o.Input.(asked).key
			by[key] = append(by[key], o)
		}
		for _, list := range by {
			parts = append(parts, list)
		}
		return parts
	},
	Init: func() []any { return []any{kept{}} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(kept), input.(asked), output.(told)
		fresh := s.id == "" || s.id == "?"
		switch {
		case in.submit && out.id == "" && s.id == "":
			return []any{s, kept{id: "?"}}
		case in.submit && out.id == "":
			return []any{s}
		case in.submit && fresh:
			return []any{kept{id: out.id}}
		case fresh, s.id != out.id:
			return nil
		case in.submit, s.ends == out.ends:
			return []any{s}
		case s.ends == "":
			return []any{kept{s.id, out.ends}}
		}
		return nil
	},
}).ToModel()

// The model takes what a good node does, and finds each way to break the word.
func TestF76Model(t *testing.T) {
	submit, read := asked{"k", true}, asked{"k", false}
	open, done, other := told{"1", ""}, told{"1", "succeeded a"}, told{"1", "succeeded b"}
	for name, c := range map[string]struct {
		want  bool
		calls []any // input and output, one call after the other
	}{
		"an end":                       {true, []any{submit, open, read, open, read, done, read, done}},
		"cut off, and not there":       {true, []any{submit, told{}, submit, open, read, done}},
		"submitted twice":              {true, []any{submit, open, submit, open, read, done}},
		"acknowledged and lost":        {false, []any{submit, open, read, told{}}},
		"two jobs of one key":          {false, []any{submit, open, submit, told{"2", ""}}},
		"ended twice":                  {false, []any{submit, open, read, done, read, other}},
		"succeeded and then failed":    {false, []any{submit, open, read, done, read, told{"1", "failed lost"}}},
		"ended and runs again":         {false, []any{submit, open, read, done, read, open}},
		"there though never submitted": {false, []any{read, done}},
	} {
		var history []porcupine.Operation
		for i := 0; i < len(c.calls); i += 2 {
			history = append(history, porcupine.Operation{Input: c.calls[i], Call: int64(2 * i), Output: c.calls[i+1], Return: int64(2*i + 1)})
		}
		if got := porcupine.CheckOperationsTimeout(jobModel, history, time.Minute) == porcupine.Ok; got != c.want {
			t.Errorf("%s: the model takes it: %v, want %v", name, got, c.want)
		}
	}
}
