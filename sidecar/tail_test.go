package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// errSeen ends a follower that has what it waits for.
var errSeen = errors.New("seen")

// follows reads a job's log until it has all of text, or the job ends.
func (b *bench) follows(ref, text string) (got string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	err := b.LogEvents(ctx, "t", ref, "", api.LogPlace{}, true, func(p api.LogPiece) error {
		if got += string(p.Data); strings.Contains(got, text) {
			return errSeen
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSeen) {
		b.t.Errorf("follow the log of %s: %v", ref, err)
	}
	return got
}

// What a program writes on another node is seen while it runs, and again from
// the beginning after the owner was restarted.
func TestLogOfAnotherNodeIsLive(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.lease(lossLease)
	root, files := f.dataset(1)
	s := partOf(root, files, 1)
	s.Run.Env["DUMMY_LINES"], s.Run.Env["DUMMY_SLEEP"] = "5000", "1h"
	owner := f.nodes[0]
	id := owner.submit(s)
	for range 2 {
		got := owner.follows(id, "5000\n")
		if !strings.HasPrefix(got, "hello") || !strings.Contains(got, "5000\n") {
			t.Fatalf("%d bytes of log, want all that was written so far", len(got))
		}
		owner.restart()
	}
	owner.look(id, func(j wire.Job) bool { // as its next beat tells
		a := j.Attempts[0]
		return a.Node == f.nodes[1].key.ID().String() && a.State == jobspec.AttemptRunning && !a.Started.IsZero() && !j.State.Final()
	})
	if _, err := owner.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	owner.final(id)
}

// A follower that was there before the end and one that came after it see the
// same, once.
func TestLogOfAnotherNodeIsWhole(t *testing.T) {
	f := newFleet(t, 2)
	root, files := f.dataset(1)
	s := partOf(root, files, 1)
	s.Run.Env["DUMMY_LINES"], s.Run.Env["DUMMY_SLEEP"] = "5000", "700ms"
	owner := f.nodes[0]
	id := owner.submit(s)
	during := owner.follows(id, "never written")
	j := owner.final(id)
	after := owner.follows(id, "never written")
	if during != after || strings.Count(after, "hello") != 1 {
		t.Errorf("%d bytes of log while it ran, %d after it, want the same", len(during), len(after))
	}
	for _, line := range []int{1, 2500, 5000} {
		if !strings.Contains(after, fmt.Sprintf("%d\n", line)) {
			t.Errorf("the log lacks line %d", line)
		}
	}
	if a := j.Attempts[0]; a.LogBytes != int64(len(after)) || a.State != jobspec.AttemptRecorded && a.State != jobspec.AttemptCleaned {
		t.Errorf("attempt is %s with %d bytes of log, want %d", a.State, a.LogBytes, len(after))
	}
}
