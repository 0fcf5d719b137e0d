package sidecar

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// offered is what this node has for tasks, as it tells the others.
func (s *Sidecar) offered() jobspec.Offer {
	s.mu.Lock()
	arch, strict := s.arch, s.strict
	s.mu.Unlock()
	if arch == "" {
		arch = runtime.GOARCH
	}
	return jobspec.Offer{Arch: arch, Labels: s.cfg.Labels, Capacity: jobspec.Resources(s.cfg.Capacity), Strict: strict}
}

// Offer is what p says that it has for tasks.
func (p Peer) Offer() jobspec.Offer {
	return jobspec.Offer{Arch: p.Arch, Labels: p.Labels, Capacity: p.Capacity, Strict: p.Strict}
}

// eachStage calls check for the spec of each stage until it refuses one.
func eachStage(spec jobspec.Spec, check func(jobspec.Spec) error) error {
	for _, st := range stagesOf(jobspec.Job{Spec: spec}) {
		if err := check(st.Spec); err != nil {
			return st.at(err)
		}
	}
	return nil
}

// runsHere refuses what this node would never run.
func (s *Sidecar) runsHere(spec jobspec.Spec) error {
	if why := spec.Against(s.offered()); len(why) > 0 {
		return s.cannotRun(spec, jobspec.Unfit{why})
	}
	return s.cfg.Limits.check(spec)
}

// runsSomewhere refuses what no member that lives would ever run, of any stage.
func (s *Sidecar) runsSomewhere(ctx context.Context) func(jobspec.Spec) error {
	return func(spec jobspec.Spec) error {
		if err := s.cfg.Limits.checkPartitions(spec); err != nil {
			return err
		}
		return s.gathered(ctx, func() error { return eachStage(spec, s.stageRuns) })
	}
}

func (s *Sidecar) stageRuns(spec jobspec.Spec) error {
	err := s.runsHere(spec)
	if err == nil || s.cfg.Crew == nil {
		return err
	}
	unfit := jobspec.Unfit{s.against(spec)}
	for _, p := range s.cfg.Crew.Live() {
		if p.ID == s.id {
			continue
		}
		why := spec.Against(p.Offer())
		if len(why) == 0 {
			return nil
		}
		unfit = append(unfit, why)
	}
	if len(unfit) == 1 {
		return err
	}
	return s.cannotRun(spec, unfit)
}

// stagesAgainst returns every reason why a node with that offer never runs some
// stage of spec.
func stagesAgainst(spec jobspec.Spec, o jobspec.Offer) (why []string) {
	for _, st := range stagesOf(jobspec.Job{Spec: spec}) {
		for _, reason := range st.Spec.Against(o) {
			if !slices.Contains(why, reason) {
				why = append(why, reason)
			}
		}
	}
	return why
}

// enough refuses a job that fewer members can run than it asks for.
func (s *Sidecar) enough(ctx context.Context, spec jobspec.Spec) error {
	return s.gathered(ctx, func() error { return s.enoughNow(spec) })
}

func (s *Sidecar) enoughNow(spec jobspec.Spec) error {
	if err := eachStage(spec, s.gangFits); err != nil {
		return err
	}
	want := spec.Place.MinWorkers
	if want <= 1 {
		return nil
	}
	return eachStage(spec, func(one jobspec.Spec) error {
		unfit, fit := jobspec.Unfit{}, 0
		look := func(why []string) {
			if len(why) == 0 {
				fit++
			} else {
				unfit = append(unfit, why)
			}
		}
		look(s.against(one))
		if s.cfg.Crew != nil {
			for _, p := range s.cfg.Crew.Live() {
				if p.ID != s.id {
					look(one.Against(p.Offer()))
				}
			}
		}
		if fit >= want {
			return nil
		}
		f := jobspec.Failure{
			Kind: jobspec.KindPolicy, Where: "place.min_workers",
			Detail: fmt.Sprintf("asks for %d members that can run it, %d of %d that live can", want, fit, fit+len(unfit)),
			Hint:   "ask for fewer (--min-workers), or start more members; ipdc peers shows who has what",
		}
		if len(unfit) > 0 {
			f.Detail += ": " + unfit.String()
		}
		return f.Error()
	})
}

// gangFits refuses a gang that all members that live have no room for together.
func (s *Sidecar) gangFits(one jobspec.Spec) error {
	if one.Gang == nil {
		return nil
	}
	d := &driver{Sidecar: s, dry: true}
	_, err := d.sites(jobspec.Job{Spec: one}, jobspec.Plan{}).seat(one.Gang.Count(), 0, func(identity.ID) bool { return false })
	return err
}

// against returns every reason why this node would never run a task of spec.
func (s *Sidecar) against(spec jobspec.Spec) []string {
	why := spec.Against(s.offered())
	if err := s.cfg.Limits.check(spec); err != nil {
		f := jobspec.AsFailure(err)
		why = append(why, f.Where+": "+f.Detail)
	}
	return why
}

// crewRuns says whether another member runs images of an architecture.
func (s *Sidecar) crewRuns(arch string) bool {
	return s.cfg.Crew != nil && slices.ContainsFunc(s.cfg.Crew.Live(), func(p Peer) bool { return p.ID != s.id && p.Arch == arch })
}

// table describes sites for people, this node first, then by id.
func (l sites) table(here identity.ID) []wire.PlanNode {
	list := make([]wire.PlanNode, len(l))
	for i, s := range l {
		list[i] = wire.PlanNode{
			ID: s.id.String(), Here: s.id == here, Arch: s.peer.Arch, Labels: s.peer.Labels, Local: s.local, Slots: s.slots,
			Capacity: wire.Capacity(s.peer.Capacity), Free: wire.Capacity(s.peer.Free),
			Overflow: s.overflow, Tasks: s.tasks, Bytes: s.given, Against: s.against,
		}
	}
	slices.SortFunc(list[1:], func(a, b wire.PlanNode) int { return strings.Compare(a.ID, b.ID) })
	return list
}
