package sidecar

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Results that are not whole keep none that is due waiting for more than every
// second turn.
func TestAuditTurns(t *testing.T) {
	left := audits{due: []jobspec.JobID{"due0", "due1"}, bad: []jobspec.JobID{"bad0", "bad1", "bad2"}}
	for turn, want := range []jobspec.JobID{"due0", "bad0", "due1", "bad1", "", "bad2", "", ""} {
		if id, ok := left.next(turn); id != want || ok != (want != "") {
			t.Errorf("turn %d = %q, %v, want %q", turn, id, ok, want)
		}
	}
}

// A result that is read without end is given up, and said to be neither whole
// nor damaged; the node's own end is not taken for that.
func TestAuditInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		if err := inTime(t.Context(), hangs); !errors.Is(err, errAuditFor) {
			t.Errorf("reading without end = %v, want %v", err, errAuditFor)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := inTime(ctx, hangs); err == nil || errors.Is(err, errAuditFor) {
			t.Errorf("reading until the node ends = %v, want its error", err)
		}
		damaged := errors.New("damaged")
		if err := inTime(t.Context(), func(context.Context) error { return damaged }); err != damaged {
			t.Errorf("reading what is damaged = %v", err)
		}
	})
}
