package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// The messages about copies; wire has their bodies.
const (
	typeHold      bus.Type = "hold"
	typeAudit     bus.Type = "audit"
	typeUnaudited bus.Type = "unaudited"
)

const (
	askCopy     = 5 * time.Second  // one question to a member; one that does not answer is passed over
	muteFor     = time.Minute      // that it is not asked again
	awaitCopy   = 10 * time.Minute // that a job's end waits; the repairer goes on
	awaitOutput = time.Minute      // that a task's end waits
)

// copies is what a node knows in memory of copies, its own and those that it
// holds. It is guarded by Sidecar.mu.
type copies struct {
	slots   chan struct{}             // bounds the fetches
	fetched map[string]*copying       // by pin, for others
	audited map[identity.ID]time.Time // when an owner last said what it wants
	noted   map[identity.ID]time.Time // when that was last written

	seen  map[identity.ID]time.Time // when a member was last heard of
	told  map[identity.ID]time.Time // when a member was last told what to hold
	poked map[identity.ID]bool      // members that ask for it
	mute  map[identity.ID]time.Time // until when a member that did not answer is not asked
	asked map[wire.Copy]int         // copies that are asked for and in no row yet
	from  string                    // name of the first row that the next round mends
}

func newCopies() copies {
	return copies{
		slots: make(chan struct{}, copiesAtOnce), fetched: map[string]*copying{},
		audited: map[identity.ID]time.Time{}, noted: map[identity.ID]time.Time{},
		seen: map[identity.ID]time.Time{}, told: map[identity.ID]time.Time{}, poked: map[identity.ID]bool{}, mute: map[identity.ID]time.Time{}, asked: map[wire.Copy]int{},
	}
}

// others returns the other members that live.
func (s *Sidecar) others() map[identity.ID]Peer {
	live := map[identity.ID]Peer{}
	if s.cfg.Crew == nil {
		return live
	}
	for _, p := range s.cfg.Crew.Live() {
		if p.ID != s.id {
			live[p.ID] = p
		}
	}
	return live
}

// hasCompany says whether this node has had other members around it since its
// start. Alone, nothing is noted about copies.
func (s *Sidecar) hasCompany() bool {
	live := s.others()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(live) > 0 || len(s.copies.seen) > 0
}

// replicate has members hold h until as many do as are wanted, the nearest
// first, and returns it with those who do. Without enough of them that
// have room, why is the last one's refusal.
func (s *Sidecar) replicate(ctx context.Context, h store.Holding, keep bool) (_ store.Holding, why error) {
	h.Holders = slices.Clone(h.Holders)
	for _, id := range s.candidates(h) {
		if h.Missing() == 0 {
			return h, nil
		}
		if err := s.askForCopy(ctx, id, h, keep); err != nil {
			if ctx.Err() != nil {
				return h, context.Cause(ctx)
			}
			why = err
			s.log.Info("member does not hold a copy", "member", id.Short(), "name", h.Name, "err", err)
			continue
		}
		h.Holders = append(h.Holders, id)
	}
	if h.Missing() > 0 && why == nil {
		why = jobspec.KindNotFound.Errorf("no other member is there to hold it")
	}
	if h.Missing() == 0 {
		why = nil
	}
	return h, why
}

// copyTo has members hold h until there are so many holders now, and writes
// down that so many are wanted. why there are fewer is as of replicate.
func (s *Sidecar) copyTo(ctx context.Context, h store.Holding, want, now int) (got store.Holding, why, err error) {
	defer s.asking(h)()
	h.Want = now
	got, why = s.replicate(ctx, h, false)
	got.Want = want
	err = s.cfg.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		if err := tx.PutHolding(got); err != nil {
			return err
		}
		return s.changeHolding(tx, h.Name, func(*store.Holding) {}) // none wanted, none there: no row
	})
	return got, why, err
}

// candidates are the live members that may hold h besides those that do, by
// their distance from its job, so that outputs and result go to the same ones;
// from its root where it is of no job. Those that were lost lately come last.
func (s *Sidecar) candidates(h store.Holding) (ids []identity.ID) {
	live, now := s.others(), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range live {
		if !p.Draining && !now.Before(s.copies.mute[id]) && !slices.Contains(h.Holders, id) {
			ids = append(ids, id)
		}
	}
	to := h.Root.String()
	if rest, ok := strings.CutPrefix(h.Name, "job/"); ok {
		to, _, _ = strings.Cut(rest, "/")
	}
	slices.SortFunc(ids, func(a, b identity.ID) int {
		return cmp.Or(boolInt(s.shy.is(a, now))-boolInt(s.shy.is(b, now)), cmp.Compare(distance(a, to), distance(b, to)))
	})
	return ids
}

// askForCopy has one member hold h, and returns when it does.
func (s *Sidecar) askForCopy(ctx context.Context, id identity.ID, h store.Holding, keep bool) error {
	for tries := 1; ; tries++ {
		once, cancel := context.WithTimeout(ctx, askCopy)
		got, err := bus.Request[wire.Holding](once, s.cfg.Post, id, typeHold, wire.Hold{Name: h.Name, Root: h.Root, Bytes: h.Bytes, Keep: keep})
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			s.mu.Lock()
			s.copies.mute[id] = s.now().Add(muteFor)
			s.mu.Unlock()
		}
		if err != nil || got.Done {
			return err
		}
		pause(ctx, min(tries, 3))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// asking keeps audits from taking back a copy that is asked for, until the
// function that it returns is called, when its row is written.
func (s *Sidecar) asking(h store.Holding) func() {
	c := wire.Copy{Name: h.Name, Root: h.Root}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copies.asked[c]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.copies.asked[c]--; s.copies.asked[c] == 0 {
			delete(s.copies.asked, c)
		}
	}
}

func nothingToNote(*store.Tx) error { return nil }

// copiesOf says whether a job's outputs are to be held by others too.
func (d *driver) copiesOf(ctx context.Context, job jobspec.Job) bool {
	return d.cfg.Post != nil && job.Origin == nil && job.Parent == "" && job.Spec.Holders() > 1 &&
		(d.hasCompany() || d.awaitCrew(ctx) && d.hasCompany())
}

// copyResult has other members hold a result that is pinned here, and returns
// what to write of it with the job's success; nothing for a job of a node
// alone. A domain with too few members does not keep the job from its end.
func (d *driver) copyResult(ctx context.Context, job jobspec.Job, result jobspec.CID, bytes int64) (put func(*store.Tx) error, done func()) {
	put, done = nothingToNote, func() {}
	if !d.copiesOf(ctx, job) {
		return put, done
	}
	h := store.Holding{Name: pinName(d.id, "result"), Root: result, Bytes: bytes, Want: job.Spec.Holders()}
	done = d.asking(h)
	ctx, cancel := context.WithTimeout(ctx, awaitCopy)
	defer cancel()
	d.tellPull("waits for another node to hold a copy of its result")
	defer d.tellPull("")
	h, err := d.replicate(ctx, h, false)
	if err != nil {
		d.log.Info("result has fewer holders than wanted", "job", d.id, "want", h.Want, "have", 1+len(h.Holders), "err", err)
	}
	return func(tx *store.Tx) error { return tx.PutHolding(h) }, done
}

// copyOutput has another member hold what a task of several wrote here, before
// it is reported: the job may have to end without this node. What a later stage
// reads is copied by whoever reads it.
func (r *runner) copyOutput(ctx context.Context) (put func(*store.Tx) error, done func()) {
	put, done = nothingToNote, func() {}
	if !r.att.Output.Defined() || r.att.Failure != nil || len(r.plan.Tasks) < 2 || !r.st.last() || !r.copiesOf(ctx, r.job) {
		return put, done
	}
	r.letGo() // nothing runs any more
	h := store.Holding{Name: attemptPin(r.att.ID), Root: r.att.Output, Want: 2}
	done = r.asking(h)
	ctx, cancel := context.WithTimeout(ctx, awaitOutput)
	defer cancel()
	h, err := r.replicate(ctx, h, false)
	if err != nil {
		r.log.Info("output has no second holder", "attempt", r.att.ID, "err", err)
		return put, done
	}
	return func(tx *store.Tx) error { return tx.PutHolding(h) }, done
}

// Replicate keeps what is pinned here under a name on so many nodes in all,
// from now on, and says which. Fewer, where no more have room, is no error.
func (s *Sidecar) Replicate(ctx context.Context, name string, root jobspec.CID, n int) (wire.Replicas, error) {
	if n < 1 || n > jobspec.MaxReplicate {
		return wire.Replicas{}, jobspec.Failure{Kind: jobspec.KindSpec, Where: "replicate", Detail: fmt.Sprintf("is %d, want 1 to %d", n, jobspec.MaxReplicate)}.Error()
	}
	s.awaitCrew(ctx)
	h := store.Holding{Name: name, Root: root}
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		old, err := tx.Holding(name)
		if err == nil && old.Root == root {
			h = old
		}
		if errors.Is(err, jobspec.KindNotFound.Error()) {
			return nil
		}
		return err
	})
	if err != nil {
		return wire.Replicas{}, err
	}
	want := n
	if n == 1 {
		want = 0 // whoever holds it lets go
	}
	h, why, err := s.copyTo(ctx, h, want, n)
	if err != nil {
		return wire.Replicas{}, err
	}
	r := s.replicas(h)
	r.Want = n
	if n > len(r.Holders) && why != nil {
		r.Problem = jobspec.AsFailure(why).Detail
	}
	return r, nil
}

// Replicas describes what other members hold, too, by the names of pins.
func (s *Sidecar) Replicas(ctx context.Context) (map[string]wire.Replicas, error) {
	rows, err := s.holdings(ctx)
	by := make(map[string]wire.Replicas, len(rows))
	for _, h := range rows {
		if h.Want > 0 {
			by[h.Name] = s.replicas(h)
		}
	}
	return by, err
}

// replicasOf describes who holds what is pinned here under a name; nil where
// nobody else is to.
func (s *Sidecar) replicasOf(tx *store.Tx, name string) (*wire.Replicas, error) {
	h, err := tx.Holding(name)
	switch {
	case errors.Is(err, jobspec.KindNotFound.Error()), err == nil && h.Want == 0:
		return nil, nil
	case err != nil:
		return nil, err
	}
	r := s.replicas(h)
	return &r, nil
}

// replicas describes a holding for people.
func (s *Sidecar) replicas(h store.Holding) wire.Replicas {
	r := wire.Replicas{Want: h.Want, Holders: append([]identity.ID{s.id}, h.Holders...)}
	live := s.others()
	for _, id := range h.Holders {
		if _, there := live[id]; !there {
			r.Away = append(r.Away, id)
		}
	}
	return r
}
