package jobspec_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/jobspec"
)

var jobStates = []jobspec.JobState{
	jobspec.JobAccepted, jobspec.JobQueued, jobspec.JobRunning, jobspec.JobPublishing,
	jobspec.JobPublished, jobspec.JobSucceeded, jobspec.JobFailed, jobspec.JobStopped,
}

// Whatever is asked of a job, it moves forward only, and a final state stays.
func TestJobStateWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := jobspec.JobAccepted
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			// Ask for what is allowed often enough that walks come to every state.
			choice := rapid.SampledFrom(jobStates)
			if ways := waysOut(state); len(ways) > 0 {
				choice = rapid.OneOf(choice, rapid.SampledFrom(ways))
			}
			next := choice.Draw(t, "asked")
			got, err := state.To(next)
			if err != nil {
				if got != state || !errors.Is(err, jobspec.KindConflict.Error()) {
					t.Fatalf("%s.To(%s) = %s, %v, want the state as it was and E_CONFLICT", state, next, got, err)
				}
				continue
			}
			if got != next || state.Final() {
				t.Fatalf("%s.To(%s) = %s", state, next, got)
			}
			if slices.Index(jobStates, next) <= slices.Index(jobStates, state) {
				t.Fatalf("%s went back to %s", state, next)
			}
			if state == jobspec.JobPublished && next == jobspec.JobStopped {
				t.Fatal("a published job was stopped")
			}
			if next == jobspec.JobSucceeded && state != jobspec.JobPublished {
				t.Fatalf("%s succeeded without being published", state)
			}
			state = got
		}
	})
}

func waysOut(state jobspec.JobState) (ways []jobspec.JobState) {
	for _, to := range jobStates {
		if _, err := state.To(to); err == nil {
			ways = append(ways, to)
		}
	}
	return ways
}

func TestJobStateReachesEveryEnd(t *testing.T) {
	seen := map[jobspec.JobState]bool{}
	next := []jobspec.JobState{jobspec.JobAccepted}
	for len(next) > 0 {
		state := next[0]
		next, seen[state] = next[1:], true
		ways := waysOut(state)
		for _, to := range ways {
			if !seen[to] {
				next = append(next, to)
			}
		}
		if (len(ways) == 0) != state.Final() {
			t.Errorf("%s: ways out are %v, final is %v", state, ways, state.Final())
		}
	}
	if len(seen) != len(jobStates) {
		t.Errorf("reached %d states, want %d", len(seen), len(jobStates))
	}
}

func TestAttemptStateWalk(t *testing.T) {
	order := jobspec.AttemptStates()
	all := append(slices.Clone(order), jobspec.AttemptAbandoned, "nonsense")
	rapid.Check(t, func(t *rapid.T) {
		state, i := jobspec.AttemptLeased, 0
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			// Offer the right step often enough that walks come to the end.
			next := rapid.OneOf(rapid.SampledFrom(all), rapid.Just(order[min(i+1, len(order)-1)])).Draw(t, "asked")
			got, err := state.To(next)
			want := !state.Final() && (next == jobspec.AttemptAbandoned || next == order[min(i+1, len(order)-1)] ||
				state == jobspec.AttemptLeased && next == jobspec.AttemptRecorded)
			if (err == nil) != want {
				t.Fatalf("%s.To(%s) = %s, %v, want allowed: %v", state, next, got, err, want)
			}
			if err != nil {
				if got != state || !errors.Is(err, jobspec.KindConflict.Error()) {
					t.Fatalf("%s.To(%s) = %s, %v, want the state as it was and E_CONFLICT", state, next, got, err)
				}
				continue
			}
			state, i = got, slices.Index(order, got)
		}
	})
	if !order[len(order)-1].Final() || order[0] != jobspec.AttemptLeased {
		t.Errorf("AttemptStates = %v", order)
	}
	order[0] = "changed"
	if jobspec.AttemptStates()[0] != jobspec.AttemptLeased {
		t.Error("AttemptStates gives its own table away")
	}
}
