package sidecar

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// A job that is handed over is another member's from its answer on. This node
// keeps a row that says who has it; the API asks there.

var _ api.Errands = (*Sidecar)(nil)

// handFor bounds how long a member may take to answer.
const handFor = 30 * time.Second

// HandOver implements api.Errands. The row is written before the member is
// asked, so that a submit that is sent again asks the same one.
func (s *Sidecar) HandOver(ctx context.Context, to string, sub api.Submission) (wire.Job, bool, error) {
	spec := sub.Spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return wire.Job{}, false, err
	}
	if namesDataset(spec) && spec.Inputs[0].OnlyNew && spec.Inputs[0].CID == "" {
		return wire.Job{}, false, jobspec.Failure{
			Kind: jobspec.KindPolicy, Where: "inputs[0].only_new", Detail: "what is new is told by the runs that this node knows of, and the job would be another member's",
			Hint: "submit it without --to, here or at the member",
		}.Error()
	}
	spec, _, err := s.resolveDataset(ctx, sub.Tenant, spec)
	if err != nil {
		return wire.Job{}, false, err
	}
	c, err := spec.CID()
	if err != nil {
		return wire.Job{}, false, err
	}
	h := store.Handed{Tenant: sub.Tenant, Key: cmp.Or(sub.IdempotencyKey, rand.Text()), Asked: s.now()}
	h.Job = jobspec.Job{Tenant: sub.Tenant, Spec: spec, SpecCID: c, State: jobspec.JobAccepted}
	unlock, err := s.handing.Lock(ctx, h.Tenant+"/"+h.Key)
	if err != nil {
		return wire.Job{}, false, err
	}
	defer unlock()
	old, known, err := s.askedBefore(ctx, h)
	if err != nil || old.Job.ID != "" {
		return wire.Job{Job: old.Job, Member: old.Member.String()}, false, err
	}
	members := []identity.ID{old.Member}
	if !known {
		err = s.gathered(ctx, func() (err error) {
			members, err = s.choose(to, spec, h.Key)
			return err
		})
		if err != nil {
			return wire.Job{}, false, err
		}
	}
	return s.offer(ctx, h, members)
}

// askedBefore returns what was handed over with the same key.
func (s *Sidecar) askedBefore(ctx context.Context, h store.Handed) (old store.Handed, known bool, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		if old, err = tx.Handed(h.Tenant, h.Key); !errors.Is(err, jobspec.KindNotFound.Error()) {
			known = err == nil
			return err
		}
		live, err := tx.CountHanded(h.Tenant)
		if most := s.cfg.Limits.Jobs; err == nil && live >= most {
			err = api.TooMany(jobspec.Failure{
				Kind: jobspec.KindLimit, Detail: fmt.Sprintf("%d jobs of %s at other members have not ended, at most %d may", live, h.Tenant, most),
				Hint: "submit when some have ended, stop some, or raise the node's setting tenant-jobs",
			}, retryAfter)
		}
		return err
	})
	if known && old.Job.SpecCID != h.Job.SpecCID {
		err = jobspec.Failure{
			Kind: jobspec.KindDupKey, Detail: fmt.Sprintf("idempotency key %q was used for another spec, which %s was asked to take", h.Key, old.Member),
			Hint: "use a new key for a new spec",
		}.Error()
	}
	return old, known, err
}

// offer asks the members in turn until one takes the job.
func (s *Sidecar) offer(ctx context.Context, h store.Handed, members []identity.ID) (wire.Job, bool, error) {
	var no refusals
	for _, h.Member = range members {
		if err := s.putHanded(ctx, h); err != nil {
			return wire.Job{}, false, err
		}
		taken, err := s.hand(ctx, h)
		switch {
		case err == nil:
			h.Job.ID, h.Job.Submitted = taken.Job, taken.Submitted
			s.log.Info("job handed over", "job", h.Job.ID, "member", h.Member.Short(), "tenant", h.Tenant)
			return wire.Job{Job: h.Job, Member: h.Member.String()}, true, s.putHanded(ctx, h)
		case refusal(err) == nil: // it may have taken it
			return wire.Job{}, false, silent(h, err)
		}
		if err := s.forgetHanded(ctx, h); err != nil {
			return wire.Job{}, false, err
		}
		no = append(no, refused{h.Member, jobspec.AsFailure(err)})
	}
	return wire.Job{}, false, no.failure()
}

// hand asks one member.
func (s *Sidecar) hand(ctx context.Context, h store.Handed) (wire.Taken, error) {
	b, err := json.Marshal(h.Job.Spec)
	if err != nil {
		return wire.Taken{}, err
	}
	q := wire.Hand{Key: memberKey(h), Spec: b}
	if len(b) > wire.MaxHandSpec {
		pin := pinName(jobspec.NewJobID(s.now()), "handover") // the sweeper removes it after a crash
		if q.File, err = s.publishJSON(ctx, pin, json.RawMessage(b)); err != nil {
			return wire.Taken{}, fmt.Errorf("store the spec: %w", err)
		}
		q.Spec = nil
		defer func() { _ = s.cfg.IPFS.Unpin(context.WithoutCancel(ctx), pin) }()
	}
	ctx, cancel := context.WithTimeout(ctx, handFor)
	defer cancel()
	t, err := bus.Request[wire.Taken](ctx, s.cfg.Post, h.Member, typeHand, q)
	if err == nil {
		_, err = jobspec.ParseJobID(string(t.Job))
	}
	return t, err
}

// memberKey is the key for the member: two tenants of this node may have used
// the same one.
func memberKey(h store.Handed) string {
	sum := sha256.Sum256([]byte(h.Tenant + "\x00" + h.Key))
	return hex.EncodeToString(sum[:16])
}

func (s *Sidecar) putHanded(ctx context.Context, h store.Handed) error {
	return s.cfg.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.PutHanded(h) })
}

func (s *Sidecar) forgetHanded(ctx context.Context, h store.Handed) error {
	return s.cfg.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.DeleteHanded(h.Tenant, h.Key) })
}

// taken takes over a job of another member, as a submit.
func (s *Sidecar) taken(ctx context.Context, l bus.Letter, h wire.Hand) (wire.Taken, error) {
	ctx, cancel := context.WithTimeout(ctx, readWork)
	defer cancel()
	if h.Key == "" || len(h.Key) > 128 || len(h.Spec) > wire.MaxHandSpec || (len(h.Spec) == 0) != h.File.Defined() {
		return wire.Taken{}, jobspec.KindSpec.Errorf("the message that hands a job over is malformed")
	}
	b := h.Spec
	if h.File.Defined() {
		var raw json.RawMessage
		if err := s.readJSON(ctx, h.File, &raw); err != nil {
			return wire.Taken{}, fmt.Errorf("read spec: %w", err)
		}
		b = raw
	}
	spec, err := jobspec.Parse(b)
	if err != nil {
		return wire.Taken{}, err
	}
	j, _, err := s.Submit(ctx, api.Submission{Tenant: api.MemberTenant(l.From), IdempotencyKey: h.Key, Spec: spec})
	return wire.Taken{Job: j.ID, Submitted: j.Submitted}, err
}
