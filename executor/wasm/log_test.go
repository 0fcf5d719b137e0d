package wasm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor/wasm"
	"github.com/ipdc/ipdc/internal/pace"
	"github.com/ipdc/ipdc/jobspec"
)

// A module's flood is kept at the task's pace, as its supervisor is outside of
// its control groups; what is less than a burst waits for nothing.
func TestR07LogIsPaced(t *testing.T) {
	for _, c := range []struct {
		size int
		wait bool
	}{{pace.Burst / 2, false}, {2 * pace.Burst, true}} {
		var waited time.Duration
		p := pace.NewAt(func() time.Time { return time.Unix(1, 0).Add(waited) }, func(d time.Duration) <-chan time.Time {
			waited += d
			due := make(chan time.Time, 1)
			due <- time.Unix(1, 0).Add(waited)
			return due
		})
		if err := wasm.CopyLog(t.TempDir(), 64*jobspec.KiB, p, strings.NewReader(strings.Repeat("x", c.size)), nil); err != nil {
			t.Fatal(err)
		}
		if least := time.Duration(c.size-pace.Burst) * time.Second / pace.Rate; c.wait && waited < least || !c.wait && waited > 0 {
			t.Errorf("%d bytes wait for %v", c.size, waited)
		}
	}
}

// What a module has said is kept without a wait when it has ended, though all
// of it is too fast.
func TestR07EndOfTheModule(t *testing.T) {
	waits := 0
	p := pace.NewAt(func() time.Time { return time.Unix(1, 0) }, func(time.Duration) <-chan time.Time {
		waits++
		return nil // it stands
	})
	over := make(chan struct{})
	close(over)
	rest := strings.NewReader(strings.Repeat("x", 2*pace.Burst))
	if err := wasm.CopyLog(t.TempDir(), 64*jobspec.KiB, p, rest, over); err != nil || rest.Len() > 0 {
		t.Errorf("%v, and %d bytes are left", err, rest.Len())
	}
	if waits == 0 {
		t.Error("control: nothing was too fast")
	}
}
