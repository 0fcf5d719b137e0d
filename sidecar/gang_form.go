package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// How a gang waits for room. A round ends for all when one of its members has
// none: who holds some gives it back, so that of two gangs that have a half each
// one comes to its start. Rounds are apart by random times.
const (
	askEvery   = 500 * time.Millisecond // a member that has no room yet
	roundAt    = 4 * time.Second        // the first round waits so long, the next ones longer
	roundMost  = 30 * time.Second
	clearWait  = 10 * time.Second // for one answer of a member that had a task of an earlier generation
	clearWhole = 2 * time.Minute  // for its end
)

// form brings all tasks of the next generation together: room for each of them,
// and their attempts in the record.
func (g *gang) form(ctx context.Context) (*generation, error) {
	g.clear(ctx)
	for ; ; g.rounds++ {
		if g.rounds > 0 {
			pause(ctx, min(g.rounds, 5))
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		_ = g.learnStrictFor(ctx, g.st.Spec) // the next round asks again
		chosen, err := g.sites(g.st.Job, g.plan).seat(g.spec.Count(), g.st.Spec.Place.MinWorkers, g.late)
		if err != nil {
			g.waits(ctx, jobspec.AsFailure(err).Detail)
			continue
		}
		token := randomToken()
		failpoint.Hit("gang-held.before-effect")
		if err := g.reserve(ctx, token, chosen); err != nil {
			g.waits(ctx, jobspec.AsFailure(err).Detail)
			continue
		}
		failpoint.Hit("gang-held.after-effect")
		n, err := g.grant(token, chosen)
		if err != nil {
			g.giveBack(token, chosen)
			return nil, causeOr(ctx, err)
		}
		g.rounds++ // until it has begun, the next one waits
		return n, nil
	}
}

// late says whether a member is rather not asked again.
func (g *gang) late(id identity.ID) bool { return g.avoid[id] || g.shy.is(id, g.now()) }

// clear ends what other members still run of earlier generations. One that does
// not answer is not waited for longer than it may be silent: its owner does not
// take what it reports.
func (g *gang) clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clearWhole)
	defer cancel()
	q := wire.Reserve{Gang: "none", Job: g.id.String(), Generation: g.last + 1}
	var all sync.WaitGroup
	for node := range g.nodes {
		all.Go(func() {
			if err := g.ask(ctx, node, q, min(clearWait, g.cfg.Lease)); err != nil {
				g.log.Info("a member does not say that its tasks of the gang have ended", "job", g.id, "member", node.Short(), "err", err)
			}
		})
	}
	all.Wait()
	clear(g.nodes)
}

// ask repeats a wish at a member until it is met, for as long as each of its
// answers comes in time.
func (g *gang) ask(ctx context.Context, node identity.ID, q wire.Reserve, patience time.Duration) error {
	var last wire.Reserved
	for {
		var err error
		if node == g.Sidecar.id {
			last, err = g.holdSeats(node, g.id, q)
		} else {
			once, cancel := context.WithTimeout(ctx, patience)
			var ans wire.Reserved
			ans, err = bus.Request[wire.Reserved](once, g.cfg.Post, node, typeReserve, q)
			cancel()
			if err == nil {
				last = ans
			}
		}
		var fe *jobspec.FailureError
		switch {
		case err == nil && last.Held:
			return nil
		case ctx.Err() != nil && last.Waiting != "":
			return jobspec.KindLost.Errorf("%s %s", node.Short(), last.Waiting)
		case errors.As(err, &fe):
			return jobspec.KindLost.Errorf("%s has no room: %s", node.Short(), fe.Failure.Detail)
		case err != nil:
			return jobspec.KindLost.Errorf("%s does not answer", node.Short())
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
		}
	}
}

// reserve has each chosen member hold room for its tasks. When one does not,
// none does.
func (g *gang) reserve(ctx context.Context, token string, chosen []*site) error {
	count := map[identity.ID]int{}
	for _, s := range chosen {
		count[s.id]++
	}
	round := min(roundAt<<min(g.rounds, 5), roundMost)
	ctx, cancel := context.WithTimeout(ctx, round)
	defer cancel()
	clear(g.avoid)
	var mu sync.Mutex
	var why []string
	var all sync.WaitGroup
	for node, n := range count {
		all.Go(func() {
			err := g.ask(ctx, node, wire.Reserve{
				Gang: token, Job: g.id.String(), Generation: g.last + 1, Tasks: n, Each: g.st.Spec.Resources,
			}, round)
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			g.avoid[node] = true
			why = append(why, jobspec.AsFailure(err).Detail)
		})
	}
	all.Wait()
	if len(why) == 0 && ctx.Err() == nil {
		return nil
	}
	g.giveBack(token, chosen)
	slices.Sort(why)
	return jobspec.KindLost.Errorf("the %d tasks of the gang start together, and wait for room: %s", len(chosen), first(why))
}

func first(list []string) string {
	if len(list) == 0 {
		return "they had it too late"
	}
	return list[0]
}

// giveBack ends a reservation everywhere.
func (g *gang) giveBack(token string, chosen []*site) {
	told := map[identity.ID]bool{}
	for _, s := range chosen {
		if told[s.id] {
			continue
		}
		told[s.id] = true
		if s.id == g.Sidecar.id {
			g.dropSeats(seatKey(s.id, token))
			continue
		}
		g.work.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(g.keep()), 5*time.Second)
			defer cancel()
			if err := g.cfg.Post.Send(ctx, s.id, typeUnreserve, wire.Unreserve{Gang: token}); err != nil {
				g.log.Debug("give room back", "job", g.id, "member", s.id.Short(), "err", err)
			}
		})
	}
}

// grant writes the attempts of a generation, all or none.
func (g *gang) grant(token string, chosen []*site) (*generation, error) {
	peers := make([]jobspec.GangPeer, len(chosen))
	for i, t := range g.spec.Tasks() {
		peers[i] = jobspec.GangPeer{Name: t.Name, Role: t.Role, Port: t.Port, Node: chosen[i].id.String()}
	}
	n := g.generation(g.last + 1)
	failpoint.Hit("gang-assigned.before-effect")
	err := g.persist(g.keep(), func(tx *store.Tx) error {
		if err := g.firstLease(tx); err != nil {
			return err
		}
		resume, err := g.resumeFrom(tx)
		if err != nil {
			return err
		}
		for i, r := range n.runs {
			r.att = jobspec.Attempt{
				ID: r.this, Token: randomToken(), Node: peers[i].Node, State: jobspec.AttemptLeased, Leased: g.done.lease(g.now()),
				Peers: &jobspec.Peers{Gang: token, Generation: n.number, Self: i, Tasks: peers, Checkpoint: resume},
			}
			if err := tx.PutAttempt(r.att); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lease generation %d of the gang: %w", n.number, err)
	}
	failpoint.Hit("gang-assigned.after-completion")
	g.last = n.number
	for _, r := range n.runs {
		g.sends(identity.ID(r.att.Node))
		r.goes(r.this, identity.ID(r.att.Node))
	}
	g.hub.notify(g.id)
	return n, nil
}

// seat chooses a site for each of n tasks of a gang: the nearest by hash that
// have room now, each of them once before any is chosen twice, and those that
// are late only when the others are not enough. When there is no room now it is
// looked for as if all sites were free. The error says with numbers why there is
// not enough.
func (l sites) seat(n, least int, late func(identity.ID) bool) ([]*site, error) {
	order := slices.Clone(l.open())
	if len(order) == 0 {
		return nil, l.unfit().Nobody().Error()
	}
	slices.SortFunc(order, func(a, b *site) int {
		return cmp.Or(boolInt(late(a.id))-boolInt(late(b.id)), cmp.Compare(a.far, b.far))
	})
	least = min(least, n)
	whole, prompt := 0, 0
	for _, s := range order {
		whole += s.slots
		prompt += 1 - boolInt(late(s.id))
	}
	for _, room := range []func(*site) int{
		func(s *site) int { return s.free },
		func(s *site) int { return s.slots },
	} {
		for _, from := range []sites{order[:prompt], order} {
			if chosen := from.deal(n, room); len(chosen) == n && chosen.distinct() >= least {
				return chosen, nil
			}
		}
	}
	f := jobspec.Failure{Kind: jobspec.KindPolicy, Where: "gang.roles", Detail: fmt.Sprintf(
		"the gang's %d tasks start together, and the %d members that can run them have room for %d at once", n, len(order), whole)}
	if whole >= n {
		f.Detail = fmt.Sprintf("the gang is to be spread over %d members, and %d can run its tasks", least, len(order))
	}
	f.Hint = "ask for fewer tasks, or for less for each (--cpu, --memory, --disk), or start more members; ipdc peers shows who has what"
	return nil, f.Error()
}

// deal gives tasks to sites in turns while they have room.
func (l sites) deal(n int, room func(*site) int) (chosen sites) {
	for turn := 1; len(chosen) < n; turn++ {
		before := len(chosen)
		for _, s := range l {
			if len(chosen) < n && room(s) >= turn {
				chosen = append(chosen, s)
			}
		}
		if len(chosen) == before {
			break
		}
	}
	return chosen
}

// distinct is how many different sites there are.
func (l sites) distinct() int {
	ids := map[identity.ID]bool{}
	for _, s := range l {
		ids[s.id] = true
	}
	return len(ids)
}
