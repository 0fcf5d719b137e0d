package sidecar_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// pointer is a name that somebody moves.
type pointer struct {
	mu    sync.Mutex
	name  string
	cid   jobspec.CID
	asked int
}

func (p *pointer) ResolveName(_ context.Context, name string) (jobspec.CID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked++; name != p.name {
		return jobspec.CID{}, jobspec.KindNotFound.Errorf("no %s", name)
	}
	return p.cid, nil
}

func (p *pointer) move(c jobspec.CID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cid = c
}

// A schedule that follows a name gets a job for each value that was seen, over
// that value; the name is asked for no more than once a minute.
func TestScheduleFollowsAName(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	b := f.nodes[0]
	values := make([]jobspec.CID, 3)
	for i := range values {
		values[i] = cidOf(t, b.input(string(rune('a'+i))))
	}
	p := &pointer{name: "/ipns/example.org", cid: values[0]}
	b.ipns = p
	b.restart()
	for head, want := range map[string]jobspec.Kind{
		"/ipns/example.net": jobspec.KindNotFound, "/ipns/example.org/a": jobspec.KindSpec, "/ipns/..": jobspec.KindSpec, "ipns://": jobspec.KindSpec,
	} {
		if _, _, err := b.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "x", OnChange: head, Spec: spec()}); !errors.Is(err, want.Error()) {
			t.Errorf("a schedule that follows %s: %v, want %s", head, err, want)
		}
	}
	if _, _, err := b.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "news", OnChange: "ipns://example.org", Spec: spec()}); err != nil {
		t.Fatal(err)
	}
	for i, c := range values[1:] {
		p.move(c)
		b.later.Add(int64(2 * time.Minute))
		f.await("the next value", func() bool { return len(b.ran("news")) == i+1 })
	}
	list, err := b.History(t.Context(), "t", "news", 100, 0)
	if err != nil || len(list) != 2 {
		t.Fatalf("History = %+v, %v, want 2 instants", list, err)
	}
	for i, at := range list { // newest first
		if j := b.final(at.Job.String()); len(j.Spec.Inputs) != 1 || j.Spec.Inputs[0].CID != values[2-i].String() {
			t.Errorf("instant %d is over %+v, want %s", i, j.Spec.Inputs, values[2-i])
		}
	}
	if p.asked > 20 {
		t.Errorf("the name was asked for %d times in 4 minutes", p.asked)
	}
}
