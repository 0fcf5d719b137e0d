package quorum

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const typeRecord bus.Type = "record"

// call is what a member asks of the keepers: one of its fields is set, or none
// when it wants to know who they are.
type call struct {
	Record string          `json:"record,omitempty"` // which one, if the member knows
	Enter  *wire.Recorded  `json:"enter,omitempty"`
	End    *wire.Ending    `json:"end,omitempty"`
	Amend  *wire.Amendment `json:"amend,omitempty"`
	Renew  *renewal        `json:"renew,omitempty"`
	Pass   *wire.Claim     `json:"pass,omitempty"`
	Find   jobspec.JobID   `json:"find,omitempty"`
	Leave  bool            `json:"leave,omitempty"`
	Joined int64           `json:"joined,omitempty"` // with Leave, as in a renewal
}

// renewal is a member's sign of life.
type renewal struct {
	Joined int64         `json:"joined"` // since when it is a member, seconds since 1970
	Claims []wire.Claim  `json:"claims,omitempty"`
	From   jobspec.JobID `json:"from,omitempty"` // Claims are all that it believes to own of the jobs
	To     jobspec.JobID `json:"to,omitempty"`   // from here to before there; "" = no bound
}

// answer is what a member says to a call. Only the leader does what is asked.
type answer struct {
	Record  string         `json:"record,omitempty"`
	View    view           `json:"view"`
	Did     bool           `json:"did,omitempty"`
	Renewed wire.Renewed   `json:"renewed"`
	Entry   *wire.Recorded `json:"entry,omitempty"`
}

// Enter puts a job on the disks of a majority of the keepers. The same again
// changes nothing. When no majority answers until ctx ends the error's kind is
// E_NO_QUORUM; the job may have been entered all the same.
func (q *Quorum) Enter(ctx context.Context, e wire.Recorded) error {
	_, err := q.call(ctx, call{Enter: &e})
	return err
}

// End ends a job under the epoch of its owner, which is this node. The error is
// of kind E_LEASE_LOST when another owns it now: then nothing of it may be
// published here.
func (q *Quorum) End(ctx context.Context, x wire.Ending) error {
	_, err := q.call(ctx, call{End: &x})
	return err
}

// Amend says of a schedule of this node whether it is paused, or what it counts,
// and so that this node runs it: it may go to any other member later.
// E_LEASE_LOST: another owns it now.
func (q *Quorum) Amend(ctx context.Context, a wire.Amendment) error {
	_, err := q.call(ctx, call{Amend: &a})
	return err
}

// Renew tells the keepers that this node lives and all jobs that it believes to
// own, and returns what the record says. It asks once for each wire.MaxClaims of
// them. What was said before an error is returned with it. After Leave it is refused.
func (q *Quorum) Renew(ctx context.Context, claims []wire.Claim) (all wire.Renewed, err error) {
	for _, r := range renewals(q.cfg.Joined.Unix(), claims) {
		a, err := q.call(ctx, call{Renew: &r})
		if err != nil {
			return all, err
		}
		all.Lost = append(all.Lost, a.Renewed.Lost...)
		all.Granted = append(all.Granted, a.Renewed.Granted...)
	}
	return all, nil
}

// renewals shares claims out to messages, of which each speaks of one range of
// ids; together they speak of all ids.
func renewals(joined int64, claims []wire.Claim) (list []renewal) {
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b wire.Claim) int { return cmp.Compare(a.Job, b.Job) })
	list = []renewal{{Joined: joined}}
	for part := range slices.Chunk(claims, wire.MaxClaims) {
		last := &list[len(list)-1]
		if last.Claims == nil {
			last.Claims = part
			continue
		}
		last.To = part[0].Job
		list = append(list, renewal{Joined: joined, From: part[0].Job, Claims: part})
	}
	return list
}

// Pass gives a job of this node to another member, as one that leaves does, or
// one that cannot run it. Without another one the error is of kind E_CONFLICT.
func (q *Quorum) Pass(ctx context.Context, c wire.Claim) error {
	_, err := q.call(ctx, call{Pass: &c})
	return err
}

// Find returns what the record says of a job, or an error of kind E_NOT_FOUND.
func (q *Quorum) Find(ctx context.Context, id jobspec.JobID) (wire.Recorded, error) {
	a, err := q.call(ctx, call{Find: id})
	if err != nil {
		return wire.Recorded{}, err
	}
	if a.Entry == nil {
		return wire.Recorded{}, unknown(id).Error()
	}
	return *a.Entry, nil
}

// Over reports whether a job is over, or an error of kind E_NOT_FOUND. A keeper
// looks into its own copy first, which is no more written when it keeps the
// record no longer: what is over there is over, but what is not may be.
func (q *Quorum) Over(ctx context.Context, id jobspec.JobID) (bool, error) {
	if k := q.copy(); k != nil {
		if e, ok := k.machine.find(id); ok && (e.Over() || q.follows(k)) {
			return e.Over(), nil
		}
	}
	e, err := q.Find(ctx, id)
	return e.Over(), err
}

// follows reports whether a copy is one of a keeper that hears of a leader.
func (q *Quorum) follows(k *keeper) bool {
	v := k.view()
	q.mu.Lock()
	defer q.mu.Unlock()
	return v.Leader != "" && slices.Contains(v.Voters, q.cfg.Self) && v.compare(q.is) >= 0
}

// Leave says that this node is no member any more: it keeps the record no
// longer, is granted nothing, and gives no sign of life from here on.
func (q *Quorum) Leave(ctx context.Context) error {
	q.leaves.Store(true)
	_, err := q.call(ctx, call{Leave: true, Joined: q.cfg.Joined.Unix()})
	return err
}

// errLeft is what a node hears that renews after its leave: the next leader, who
// knows nothing of that, would make it a keeper again.
var errLeft = errors.New("this node has taken its leave of the keepers")

// call asks the leader, whoever that is, until ctx ends. Its error names who did
// not answer when it was last asked, as ctx may end within a round.
func (q *Quorum) call(ctx context.Context, c call) (answer, error) {
	silent := map[identity.ID]bool{}
	for tries := 0; ; tries++ {
		asked := map[identity.ID]bool{}
		for {
			to, ok := q.next(asked, tries)
			if !ok || ctx.Err() != nil {
				break
			}
			if c.Renew != nil && q.leaves.Load() {
				return answer{}, errLeft
			}
			asked[to] = true
			a, err := q.once(ctx, to, c)
			var failure *jobspec.FailureError
			switch {
			case errors.As(err, &failure) && q.keeps(to):
				return a, err
			case err != nil:
				silent[to] = true
			case a.Did && q.keeps(to):
				return a, nil
			default:
				delete(silent, to)
			}
		}
		if len(q.Keepers().Voters) == 0 { // nobody knows of any: do not ask in vain
			return answer{}, q.noQuorum(silent)
		}
		if err := q.rest(ctx, tries, silent); err != nil {
			return answer{}, err
		}
	}
}

// once asks one member, which may be this node.
func (q *Quorum) once(ctx context.Context, to identity.ID, c call) (answer, error) {
	if to == q.cfg.Self {
		return q.serve(ctx, q.cfg.Self, c)
	}
	ctx, cancel := context.WithTimeout(ctx, max(q.pulse(), time.Second))
	defer cancel()
	return q.ask(ctx, to, c)
}

// ask sends a call to another member and learns from its answer, if it is one
// that can know.
func (q *Quorum) ask(ctx context.Context, to identity.ID, c call) (answer, error) {
	c.Record = q.record()
	a, err := bus.Request[answer](ctx, q.cfg.Post, to, typeRecord, c)
	if err != nil || a.Record == "" {
		return a, err
	}
	if err := q.adopt(a.Record); err != nil {
		return a, err
	}
	if q.heeds(to) {
		q.note(a.View)
	}
	return a, nil
}

// keeps reports whether a member keeps the record, as far as this node knows:
// only such a one is believed that something was done, or refused.
func (q *Quorum) keeps(id identity.ID) bool {
	return id == q.cfg.Self || slices.Contains(q.Keepers().Voters, id)
}

// heeds reports whether a member is believed who the keepers are: one of them,
// or anybody while none is known that lives.
func (q *Quorum) heeds(id identity.ID) bool {
	known, live := q.Keepers().Voters, q.cfg.Live()
	return slices.Contains(known, id) || !slices.ContainsFunc(known, func(v identity.ID) bool {
		return v != q.cfg.Self && slices.Contains(live, v) && !q.cfg.Revoked(v)
	})
}

// firstPause is between two rounds; later ones are longer.
const firstPause = 20 * time.Millisecond

// next is whom to ask now: the leader, the other keepers, and some who live,
// since all that are known here may be gone.
func (q *Quorum) next(asked map[identity.ID]bool, tries int) (identity.ID, bool) {
	k := q.Keepers()
	list := append([]identity.ID{k.Leader}, k.Voters...)
	if live := q.cfg.Live(); len(live) > 0 && (len(k.Voters) == 0 || tries > 0) {
		for range 2 {
			list = append(list, live[rand.N(len(live))])
		}
	}
	for _, id := range list {
		if id != "" && !asked[id] {
			return id, true
		}
	}
	return "", false
}

// rest waits before the keepers are asked again. When ctx has ended it says who
// of them did not answer.
func (q *Quorum) rest(ctx context.Context, tries int, silent map[identity.ID]bool) error {
	pause := min(firstPause<<min(tries, 10), q.pulse()/2)
	wait := time.NewTimer(pause/2 + rand.N(pause))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return q.noQuorum(silent)
	}
}

func (q *Quorum) noQuorum(silent map[identity.ID]bool) error {
	k := q.Keepers()
	return k.NoQuorum(slices.DeleteFunc(slices.Clone(k.Voters), func(id identity.ID) bool { return silent[id] })).Error()
}
