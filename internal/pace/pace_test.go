package pace_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/internal/pace"
)

// clock goes on only while somebody waits.
type clock struct {
	now    time.Time
	waited time.Duration
}

func (c *clock) time() time.Time { return c.now }

func (c *clock) after(d time.Duration) <-chan time.Time {
	c.now, c.waited = c.now.Add(d), c.waited+d
	due := make(chan time.Time, 1)
	due <- c.now
	return due
}

// At each moment no more was passed on than a burst and the rate since the
// beginning, but for the piece that is waited for; and nobody waits longer than
// that takes.
func TestR07PaceIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(1, 0)
		c := &clock{now: start}
		p := pace.NewAt(c.time, c.after)
		cpu := rapid.Int64Range(0, 4000).Draw(t, "thousandths of a processor")
		p.Share(cpu)
		rate := float64(pace.Rate)
		if cpu > 0 && cpu < 1000 {
			rate *= float64(cpu) / 1000
		}
		spent, idle := 0, time.Duration(0)
		for range rapid.IntRange(1, 400).Draw(t, "writes") {
			bytes := rapid.IntRange(1, 32<<10).Draw(t, "bytes")
			pieces := rapid.IntRange(1, bytes).Draw(t, "pieces")
			rest := time.Duration(rapid.IntRange(0, 1000).Draw(t, "rest")) * time.Millisecond
			c.now, idle = c.now.Add(rest), idle+rest
			p.Spend(bytes, pieces, nil)
			spent += bytes + pieces*pace.Piece
			if allowed := pace.Burst + c.now.Sub(start).Seconds()*rate; float64(spent) > allowed+1 {
				t.Fatalf("%d were passed on in %v, want at most %.0f", spent, c.now.Sub(start), allowed)
			}
		}
		if longest := float64(spent) / rate; c.waited.Seconds() > longest {
			t.Fatalf("%d took a wait of %v, want at most %.1f s", spent, c.waited, longest)
		}
	})
}

// What a usual program says passes at once.
func TestBurstIsFree(t *testing.T) {
	c := &clock{now: time.Unix(1, 0)}
	p := pace.NewAt(c.time, c.after)
	for range 50_000 {
		p.Spend(100, 1, nil)
	}
	if c.waited != 0 {
		t.Errorf("50,000 lines wait for %v, want not at all", c.waited)
	}
	for range 500_000 { // control
		p.Spend(100, 1, nil)
	}
	if c.waited == 0 {
		t.Error("control: ten times as many wait for nothing")
	}
}

// Who is done does not wait, and the next one does.
func TestWhatIsOwed(t *testing.T) {
	c := &clock{now: time.Unix(1, 0)}
	var asked time.Duration
	p := pace.NewAt(c.time, func(d time.Duration) <-chan time.Time {
		asked = d
		return nil // it never comes
	})
	over := make(chan struct{})
	close(over)
	p.Spend(0, 0, nil)
	for range 1 + pace.Burst>>16 {
		p.Spend(64<<10, 0, over)
	}
	asked = 0
	p.Spend(0, 0, over)
	if want := time.Second / (pace.Rate >> 16); asked != want {
		t.Errorf("the next one is to wait for %v, want %v", asked, want)
	}
}

func TestPieces(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 1, "\n": 1, "a\n": 1, "a\nb": 2, "\n\n\n": 3} {
		if got := pace.Pieces([]byte(text)); got != want {
			t.Errorf("Pieces(%q) = %d, want %d", text, got, want)
		}
	}
}
