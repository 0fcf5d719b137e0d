package sidecar

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// A line that is too long, or none, hides no other.
func TestItemLines(t *testing.T) {
	long := fmt.Sprintf(`{"path":"long","error":%q}`, strings.Repeat("x", 3*maxItemLine))
	for _, text := range []string{
		`{"path":"a"}` + "\n" + long + "\nnone\n{\"path\":\"../b\"}\n" + `{"path":"c"}` + "\n",
		long + "\n" + `{"path":"a"}` + "\n" + `{"path":"c"}`,
		`{"path":"a"}` + "\n" + `{"path":"c"}` + "\n" + long,
	} {
		var got []string
		err := eachItemEnd(strings.NewReader(text), func(e jobspec.ItemEnd) error {
			got = append(got, e.Path)
			return nil
		})
		if strings.Join(got, " ") != "a c" || err != nil {
			t.Errorf("items %q, %v, want a and c", got, err)
		}
	}
}

// Of a task's attempts the last one counts, but none that failed after one that
// did not.
func TestDecidingAttempt(t *testing.T) {
	for states, want := range map[string]int{"f": 1, "ff": 2, "fs": 2, "sf": 1, "fsf": 2, "fa": 1, "a": 0} {
		var all []jobspec.Attempt
		for i, c := range states {
			a := jobspec.Attempt{ID: jobspec.AttemptID{Task: 4, Try: i + 1}, State: jobspec.AttemptRecorded}
			if c != 's' {
				a.Failure = &jobspec.Failure{Kind: jobspec.KindExit}
			}
			if c == 'a' {
				a.State = jobspec.AttemptAbandoned
			}
			all = append(all, a)
		}
		if got := deciding(all, reported)[4].ID.Try; got != want {
			t.Errorf("of %s try %d decides, want %d", states, got, want)
		}
	}
}

func TestStageOfPin(t *testing.T) {
	for what, want := range map[string]int{"items-known": 0, "stage/2/items-known": 2, "stage/10/items-known": 10} {
		if got := stageOfPin("01j", pinName("01j", what)); got != want {
			t.Errorf("pin %s is of stage %d, want %d", what, got, want)
		}
	}
}
