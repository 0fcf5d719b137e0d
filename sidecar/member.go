package sidecar

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
)

// askAtMost is how many members an offer to any of them goes to.
const askAtMost = 8

// nameLabel is the label that is a member's name.
const nameLabel = "name"

// choose returns the members that a job is offered to, in this order.
func (s *Sidecar) choose(to string, spec jobspec.Spec, key string) ([]identity.ID, error) {
	if s.cfg.Post == nil || s.cfg.Crew == nil {
		return nil, nobody("this node is on no network (p2p-listen is off)", "start it with --p2p-listen, or submit without --to")
	}
	others := slices.DeleteFunc(s.cfg.Crew.Live(), func(p Peer) bool { return p.ID == s.id })
	if to != api.AnyMember {
		id, err := s.member(to, others)
		return []identity.ID{id}, err
	}
	return fitting(others, spec, key)
}

// member returns the one member that to means: its id, the beginning or the
// end of it, or its label name.
func (s *Sidecar) member(to string, others []Peer) (identity.ID, error) {
	if to == s.id.String() {
		return "", jobspec.Failure{
			Kind: jobspec.KindSpec, Where: "to", Detail: to + " is this node itself", Hint: "leave --to out",
		}.Error()
	}
	var exact, like []identity.ID
	for _, p := range others {
		switch id := p.ID.String(); {
		case id == to || p.Labels[nameLabel] == to:
			exact = append(exact, p.ID)
		case strings.HasPrefix(id, to), len(to) >= 4 && strings.HasSuffix(id, to):
			like = append(like, p.ID)
		}
	}
	if len(exact) > 0 {
		like = exact
	}
	switch len(like) {
	case 1:
		return like[0], nil
	case 0:
		return "", jobspec.Failure{
			Kind: jobspec.KindNotFound, Where: "to", Detail: fmt.Sprintf("no member %.80q was heard lately; %d were", to, len(others)),
			Hint: "`ipdc peers` lists those that are there; --to takes an id, a unique beginning or end of one, a label name, or any",
		}.Error()
	}
	slices.Sort(like)
	return "", jobspec.Failure{
		Kind: jobspec.KindSpec, Where: "to", Detail: fmt.Sprintf("%.80q may be %d members: %s", to, len(like), listIDs(like)),
		Hint: "type more characters of the id",
	}.Error()
}

// listIDs names the first few.
func listIDs(ids []identity.ID) string {
	const most = 5
	var list []string
	for _, id := range ids[:min(len(ids), most)] {
		list = append(list, id.String())
	}
	if len(ids) > most {
		list = append(list, "...")
	}
	return strings.Join(list, ", ")
}

// fitting orders the members that could run a task of the spec: the one that
// could run most of them now first, of equals the nearest by hash.
func fitting(others []Peer, spec jobspec.Spec, key string) (ids []identity.ID, err error) {
	var no refusals
	free := map[identity.ID]int{}
	for _, p := range others {
		if p.Draining {
			no = append(no, refused{p.ID, jobspec.AsFailure(errDraining())})
			continue
		}
		if why := stagesAgainst(spec, p.Offer()); len(why) > 0 {
			no = append(no, refused{p.ID, jobspec.Unfit{why}.Nobody()})
			continue
		}
		free[p.ID] = spec.WithDefaults().Resources.Slots(p.Free)
		ids = append(ids, p.ID)
	}
	if len(ids) == 0 {
		return nil, no.failure()
	}
	slices.SortFunc(ids, func(a, b identity.ID) int {
		return cmp.Or(cmp.Compare(free[b], free[a]), cmp.Compare(distance(a, jobspec.JobID(key)), distance(b, jobspec.JobID(key))))
	})
	return ids[:min(len(ids), askAtMost)], nil
}

// refused is a member that does not take a job.
type refused struct {
	by  identity.ID
	why jobspec.Failure
}

type refusals []refused

// failure is what all of them said: the words of the one, or the reasons of
// several, counted.
func (r refusals) failure() error {
	if len(r) == 0 {
		return nobody("no other member of the domain is there", "`ipdc peers` lists them; to let one in: ipdc domain invite")
	}
	if len(r) == 1 {
		f := r[0].why
		f.Detail = fmt.Sprintf("%s does not take it: %s", r[0].by, f.Detail)
		return f.Error()
	}
	counts := map[string]int{}
	var order []string
	for _, x := range r {
		why := fmt.Sprintf("%s: %s", x.why.Kind, x.why.Detail)
		if counts[why]++; counts[why] == 1 {
			order = append(order, why)
		}
	}
	for i, why := range order {
		order[i] = fmt.Sprintf("%d x %s", counts[why], why)
	}
	return nobody(fmt.Sprintf("none of %d members takes it: %s", len(r), strings.Join(order, "; ")), r[0].why.Hint)
}

func nobody(detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindPolicy, Where: "to", Detail: detail, Hint: hint}.Error()
}

// silent is a member that did not answer in time: nobody knows whether it took
// the job.
func silent(h store.Handed, err error) error {
	return jobspec.Failure{
		Kind: jobspec.KindLost, Where: "to", Detail: fmt.Sprintf("%s gave no answer within %s: %v", h.Member, handFor, jobspec.AsFailure(err).Detail),
		Hint: fmt.Sprintf("it may have taken the job: the same submit with --idempotency-key %s asks it again and makes no second one", h.Key),
	}.Error()
}
