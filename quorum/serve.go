package quorum

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// reign is what a keeper knows while it leads. It is guarded by Quorum.mu.
type reign struct {
	term  uint64    // 0: it does not lead
	since time.Time // when it began to hear of owners
	seen  map[identity.ID]sign
	left  map[identity.ID]int64 // who has taken its leave, and since when it had been a member
}

// sign is a member's last sign of life.
type sign struct {
	at     time.Time
	joined int64
}

const maxLost = 64 // entries in one answer

// answer serves a call of another member. What that says of the record is not
// learned: it is asked for, where it is needed.
func (q *Quorum) answer(ctx context.Context, l bus.Letter, c call) (answer, error) {
	if r := q.record(); r != "" && c.Record != "" && c.Record != r {
		return answer{}, jobspec.KindConflict.Errorf("it is of the record %.64q, this domain's is %s", c.Record, r)
	}
	return q.serve(ctx, l.From, c)
}

// serve does what a member asks if this node leads, and otherwise says who the
// keepers are.
func (q *Quorum) serve(ctx context.Context, from identity.ID, c call) (answer, error) {
	k := q.copy()
	if k != nil {
		q.note(k.view())
	}
	a := answer{Record: q.record()}
	q.mu.Lock()
	a.View = q.is
	leads := q.reign.term != 0
	q.mu.Unlock()
	if k == nil || !leads {
		return a, nil
	}
	err := q.do(ctx, k, from, c, &a)
	if errors.Is(err, errNotLeader) {
		return a, nil
	}
	a.Did = err == nil
	return a, err
}

func (q *Quorum) do(ctx context.Context, k *keeper, from identity.ID, c call, a *answer) error {
	switch {
	case c.Enter != nil:
		if err := enterable(*c.Enter, from); err != nil {
			return err
		}
		if err := q.hears(from, 0); err != nil {
			return err
		}
		return k.apply(ctx, command{Enter: c.Enter})
	case c.End != nil:
		if x := c.End; !x.State.Final() && x.State != jobspec.JobPublished {
			return jobspec.KindSpec.Errorf("job %.64q cannot end as %.64q", x.Job, x.State)
		}
		return k.apply(ctx, command{End: c.End, By: from})
	case c.Amend != nil:
		if err := countable(c.Amend.Counts); err != nil {
			return err
		}
		return k.apply(ctx, command{Amend: c.Amend, By: from})
	case c.Renew != nil:
		if err := q.hears(from, c.Renew.Joined); err != nil {
			return err
		}
		a.Renewed = k.machine.renewed(from, *c.Renew)
	case c.Pass != nil:
		return q.pass(ctx, k, from, *c.Pass)
	case c.Leave:
		return q.leave(ctx, k, from, c.Joined)
	case c.Find != "":
		if err := k.pending.settled(ctx, func() raft.Future { return k.VerifyLeader() }); err != nil {
			return errNotLeader
		}
		if e, ok := k.machine.find(c.Find); ok {
			a.Entry = &e
		}
	}
	return nil
}

// Bounds of what a member may enter: a job's owner names the tenant, the key and
// the id of its files at whoever owns the job later.
const (
	maxName  = 128 // bytes of a tenant and of a key
	maxEpoch = 1 << 20
)

// enterable refuses entries that could harm who is granted the job. One of a
// later epoch is of an heir, when the record was lost and began anew.
func enterable(e wire.Recorded, from identity.ID) error {
	if e.Owner != from || e.Epoch < 1 || e.Epoch > maxEpoch {
		return jobspec.KindPolicy.Errorf("%s enters a job of %.64q with epoch %d", from, e.Owner, e.Epoch)
	}
	if id, err := jobspec.ParseJobID(e.Job.String()); err != nil || id != e.Job {
		return jobspec.KindSpec.Errorf("%.64q is not a job id", e.Job)
	}
	if e.Tenant == "" || !printable(e.Tenant) || !printable(e.Key) {
		return jobspec.KindSpec.Errorf("job %s: tenant and key have at most %d printable ASCII characters, not %d and %d", e.Job, maxName, len(e.Tenant), len(e.Key))
	}
	if e.Cursor < 0 || e.Fired != nil && (e.Schedule || e.Fired.JobID() != e.Job) {
		return jobspec.KindSpec.Errorf("job %s is not of the instant that it names", e.Job)
	}
	if err := countable(e.Counts); err != nil {
		return err
	}
	if !e.SpecCID.Defined() || !e.Spec.Defined() {
		return jobspec.KindSpec.Errorf("job %s is entered without its spec", e.Job)
	}
	return nil
}

// countable refuses what cannot be the count of a dataset's versions.
func countable(c *jobspec.Counts) error {
	if c != nil && (c.Base < 0 || !printable(c.Dataset)) {
		return jobspec.KindSpec.Errorf("a schedule cannot count the versions of %.64q from %d", c.Dataset, c.Base)
	}
	return nil
}

func printable(s string) bool {
	return len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f })
}

// hears notes a sign of life, as long as this node leads.
func (q *Quorum) hears(id identity.ID, joined int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reign.seen == nil {
		return errNotLeader
	}
	if joined == 0 { // it did not say
		joined = cmp.Or(q.reign.seen[id].joined, q.reign.left[id], time.Now().Unix())
	}
	q.reign.seen[id] = sign{time.Now(), joined}
	return nil
}

// forget drops the signs of members that are silent for so long that it makes
// no difference any more.
func (q *Quorum) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.reign.seen, func(_ identity.ID, s sign) bool { return time.Since(s.at) > 2*replaceAfter*q.cfg.Lease })
}

// renewed compares what an owner claims with the record. A job that the owner
// itself has ended under this epoch is not lost: its row follows.
func (m *machine) renewed(owner identity.ID, r renewal) (out wire.Renewed) {
	claimed := map[jobspec.JobID]int{}
	for _, c := range r.Claims[:min(len(r.Claims), wire.MaxClaims)] {
		claimed[c.Job] = c.Epoch
		e, ok := m.find(c.Job)
		if ok && e.Owner == owner && e.Epoch == c.Epoch || len(out.Lost) >= maxLost {
			continue
		}
		if !ok { // so long over that it is forgotten
			e = wire.Recorded{Job: c.Job}
		}
		out.Lost = append(out.Lost, wire.Recorded{Job: e.Job, Owner: e.Owner, Epoch: e.Epoch, State: e.State, Result: e.Result})
	}
	out.Granted = m.live(func(e wire.Recorded) bool {
		epoch, ok := claimed[e.Job]
		return e.Owner == owner && (!ok || epoch != e.Epoch) && e.Job >= r.From && (r.To == "" || e.Job < r.To)
	})
	// Any of them: those that cannot be taken over now are in nobody's way.
	rand.Shuffle(len(out.Granted), func(i, j int) { out.Granted[i], out.Granted[j] = out.Granted[j], out.Granted[i] })
	out.Granted = out.Granted[:min(len(out.Granted), wire.MaxGranted)]
	for i, e := range out.Granted { // all of them fit into one message
		out.Granted[i].Past = e.Past[max(0, len(e.Past)-1):]
	}
	return out
}

// leads reports whether this node leads, having applied all that was committed
// before it did.
func (q *Quorum) leads(ctx context.Context, k *keeper) bool {
	term := k.CurrentTerm()
	q.mu.Lock()
	same := q.reign.term == term
	q.mu.Unlock()
	if k.State() != raft.Leader {
		q.mu.Lock()
		q.reign = reign{}
		q.mu.Unlock()
		return false
	}
	if same {
		return true
	}
	if k.pending.settled(ctx, func() raft.Future { return k.Barrier(applyFor) }) != nil {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reign = reign{term: term, since: time.Now(), seen: map[identity.ID]sign{}, left: map[identity.ID]int64{}}
	q.log.Info("this node leads the keepers of the domain's jobs", "term", term)
	return true
}

// tendOwners grants the jobs of owners that were silent for three leases to
// others. With fewer than three keepers owners end their jobs without asking, so
// none is granted then.
func (q *Quorum) tendOwners(ctx context.Context, k *keeper) {
	q.forget()
	if len(k.view().Voters) < wire.MinKeepers {
		return
	}
	gone := map[identity.ID]bool{}
	list := k.machine.live(func(e wire.Recorded) bool {
		g, ok := gone[e.Owner]
		if !ok {
			g = q.silent(e.Owner, leases*q.cfg.Lease)
			gone[e.Owner] = g
		}
		return g
	})
	for _, e := range list {
		to := q.successor(e)
		if to == "" {
			continue
		}
		err := k.apply(ctx, command{Grant: &grant{wire.Claim{Job: e.Job, Epoch: e.Epoch}, to}})
		if errors.Is(err, errNotLeader) {
			return
		}
		q.log.Info("job goes to another owner", "job", e.Job, "from", e.Owner, "to", to, "epoch", e.Epoch+1, "err", err)
	}
}

// silent reports whether a member has given no sign of life for so long. Who
// leads since less has not waited for one so long.
func (q *Quorum) silent(id identity.ID, d time.Duration) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := q.reign.since
	if s, ok := q.reign.seen[id]; ok {
		last = s.at
	}
	return time.Since(last) > d
}

// lively are the members that have just given a sign of life, and have not taken
// their leave: what one of those had said before may come later.
func (q *Quorum) lively() map[identity.ID]int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	live := map[identity.ID]int64{}
	for id, s := range q.reign.seen {
		if left, ok := q.reign.left[id]; ok && left == s.joined {
			continue
		}
		if time.Since(s.at) <= q.cfg.Lease && !q.cfg.Revoked(id) {
			live[id] = s.joined
		}
	}
	return live
}

// heir is the live member that is nearest to a job by SHA-256 XOR, of those
// that have not had it.
func (q *Quorum) heir(e wire.Recorded) (best identity.ID) {
	for id := range q.lively() {
		if id == e.Owner || slices.Contains(e.Past, id) {
			continue
		}
		if best == "" || distance(id, e.Job) < distance(best, e.Job) {
			best = id
		}
	}
	return best
}

// successor is who goes on when an owner is silent. A schedule is for years: when
// all have had it, whoever could not run it then may now.
func (q *Quorum) successor(e wire.Recorded) identity.ID {
	to := q.heir(e)
	if to == "" && e.Schedule {
		e.Past = nil
		to = q.heir(e)
	}
	return to
}

func distance(id identity.ID, job jobspec.JobID) string {
	a, b := sha256.Sum256([]byte(id)), sha256.Sum256([]byte(job))
	for i := range a {
		a[i] ^= b[i]
	}
	return string(a[:])
}

// pass grants a job to another one at the wish of its owner. The same again, as
// the answer was lost or came too late, changes nothing.
func (q *Quorum) pass(ctx context.Context, k *keeper, from identity.ID, c wire.Claim) error {
	e, ok := k.machine.find(c.Job)
	switch {
	case !ok:
		return unknown(c.Job).Error()
	case passed(e, from, c):
		return nil
	case e.Over() || e.Owner != from || e.Epoch != c.Epoch:
		return lost(e).Error()
	}
	to := q.heir(e)
	if to == "" {
		return jobspec.KindConflict.Errorf("no other member could take job %s: %d live, %d have had it", c.Job, len(q.lively()), len(e.Past)+1)
	}
	err := k.apply(ctx, command{Grant: &grant{c, to}})
	if e, _ := k.machine.find(c.Job); err != nil && passed(e, from, c) { // by the same, asked before
		return nil
	}
	return err
}

// passed reports whether a job went from its owner to another one under the
// epoch that follows the one of the claim.
func passed(e wire.Recorded, from identity.ID, c wire.Claim) bool {
	n := len(e.Past)
	return e.Epoch == c.Epoch+1 && n > 0 && e.Past[n-1] == from
}
