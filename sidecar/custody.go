package sidecar

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const (
	custody      = "record/" // begins the names of pins of what jobs of others need
	maxCustody   = 256 << 20 // bytes of one DAG
	custodyFiles = 20_000
	maxCustodies = 50_000           // DAGs for one owner
	custodyYoung = 10 * time.Minute // a job may be on its way into the record
)

// entrust has a majority of the keepers hold what only this node may have of a
// job: its spec, its code and its list of requirements. The input is its
// holders' care.
func (s *Sidecar) entrust(ctx context.Context, k wire.Keepers, job jobspec.Job, spec jobspec.CID) error {
	here, err := s.needsHere(ctx, job.Spec)
	if err != nil {
		return err
	}
	roots := append([]jobspec.CID{spec}, here...)
	need := k.Majority()
	var answered []identity.ID
	var refused error
	var mu sync.Mutex
	var asked sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if slices.Contains(k.Voters, s.id) {
		answered = append(answered, s.id)
	}
	held := len(answered)
	for _, id := range k.Voters {
		if id == s.id {
			continue
		}
		asked.Go(func() {
			_, err := bus.Request[wire.Keeping](ctx, s.cfg.Post, id, typeKeep, wire.Keep{Job: job.ID, Roots: roots})
			mu.Lock()
			defer mu.Unlock()
			var f *jobspec.FailureError
			switch {
			case err == nil:
				answered = append(answered, id)
				if held++; held >= need {
					cancel() // the others go on with what they were asked
				}
			case errors.As(err, &f):
				answered = append(answered, id)
				refused = fmt.Errorf("%s cannot hold what the job needs: %w", id, err)
			}
		})
	}
	asked.Wait()
	switch {
	case held >= need:
		s.mu.Lock()
		s.entrusted[job.ID] = trust{voters: slices.Clone(k.Voters), needs: len(here)}
		s.mu.Unlock()
		return nil
	case refused != nil:
		return refused
	}
	return k.NoQuorum(answered).Error()
}

// needsHere are code and requirements of a spec, as far as they are stored here.
func (s *Sidecar) needsHere(ctx context.Context, spec jobspec.Spec) (here []jobspec.CID, err error) {
	needs := needsOf(spec)
	for i, c := range needs {
		if slices.Contains(needs[:i], c) {
			continue
		}
		if has, err := s.cfg.IPFS.Has(ctx, c); err != nil {
			return nil, err
		} else if has {
			here = append(here, c)
		}
	}
	return here, nil
}

// trust is what keepers were given to hold for a job.
type trust struct {
	voters []identity.ID // who they were
	needs  int           // how many DAGs beside the spec
}

// entrustOnce is for how many jobs the keepers are asked again in one round.
const entrustOnce = 16

// entrustAgain has a majority of the present keepers hold what jobs and schedules
// of this node need: others than when they were entered may keep the record by
// now, or this node has them from an owner that is gone. After a start it is not
// known who holds them.
func (s *Sidecar) entrustAgain(ctx context.Context, k wire.Keepers, own map[jobspec.JobID]jobspec.Spec) {
	s.mu.Lock()
	maps.DeleteFunc(s.entrusted, func(id jobspec.JobID, _ trust) bool { _, is := own[id]; return !is })
	given := maps.Clone(s.entrusted)
	s.mu.Unlock()
	asked := 0
	for id, spec := range own { // in any order: what is refused keeps out no other one
		if asked == entrustOnce || ctx.Err() != nil || !k.Active() {
			return
		}
		if t, ok := given[id]; ok && slices.Equal(t.voters, k.Voters) {
			if t.needs == len(slices.Compact(needsOf(spec))) {
				continue
			}
			if here, err := s.needsHere(ctx, spec); err != nil || len(here) == t.needs {
				continue
			}
		}
		asked++
		if err := s.entrustOne(ctx, k, id, spec); err != nil && ctx.Err() == nil {
			s.log.Debug("the keepers do not hold what a job needs", "job", id, "err", err)
		}
	}
}

// entrustOne does so for one of them. Its spec is the file that the record names,
// which only an earlier owner may have made.
func (s *Sidecar) entrustOne(ctx context.Context, k wire.Keepers, id jobspec.JobID, spec jobspec.Spec) error {
	e, err := s.cfg.Record.Find(ctx, id)
	if err != nil || e.Owner != s.id || e.Over() {
		return err
	}
	pin := pinName(id, "spec")
	if e.Schedule {
		pin = schedulePin(jobspec.ScheduleID(id)) + "record"
	}
	if err := s.cfg.IPFS.Pin(ctx, pin, e.Spec); err != nil {
		return err
	}
	return s.entrust(ctx, k, jobspec.Job{ID: id, Spec: spec}, e.Spec)
}

// custodyOf begins the names of pins of what the jobs of one owner need.
func custodyOf(owner identity.ID) string { return custody + owner.String() + "/" }

// keepFor holds what a job of another member needs, until it is over.
func (s *Sidecar) keepFor(ctx context.Context, l bus.Letter, k wire.Keep) (wire.Keeping, error) {
	if _, err := jobspec.ParseJobID(k.Job.String()); err != nil || len(k.Roots) > wire.MaxKeep {
		return wire.Keeping{}, jobspec.KindSpec.Errorf("%d DAGs are to be held for job %.40q", len(k.Roots), k.Job)
	}
	if err := s.cfg.Admit(ctx); err != nil {
		return wire.Keeping{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.enterFor())
	defer cancel()
	of := custodyOf(l.From)
	pins, err := s.cfg.IPFS.Pins(ctx, of)
	if err != nil {
		return wire.Keeping{}, err
	}
	if len(pins) >= maxCustodies {
		return wire.Keeping{}, jobspec.KindLimit.Errorf("%d DAGs are held here for jobs of %s that have not ended, at most %d are", len(pins), l.From.Short(), maxCustodies)
	}
	for i, c := range k.Roots {
		b := ipfs.Budget{Bytes: maxCustody, Entries: custodyFiles}
		if err := tree.Walk(ctx, s.cfg.IPFS, c, b, func(tree.Entry) error { return nil }); err != nil {
			return wire.Keeping{}, err
		}
		if err := s.cfg.IPFS.Pin(ctx, fmt.Sprintf("%s%s/%d", of, k.Job, i), c); err != nil {
			return wire.Keeping{}, err
		}
	}
	return wire.Keeping{}, nil
}

// sweepCustody lets go of what jobs needed that are over. When the keepers do not
// say of one it asks about no other: each question takes long then.
func (s *Sidecar) sweepCustody(ctx context.Context) error {
	if s.cfg.Record == nil {
		return nil
	}
	pins, err := s.cfg.IPFS.Pins(ctx, custody)
	if err != nil {
		return err
	}
	over := map[string]bool{}
	for _, p := range pins {
		_, name, _ := strings.Cut(strings.TrimPrefix(p.Name, custody), "/")
		name, _, _ = strings.Cut(name, "/")
		done, seen := over[name]
		if !seen {
			var aerr error
			if done, aerr = s.custodyOver(ctx, name, p.Created); aerr != nil {
				s.log.Debug("the keepers do not say which jobs are over", "err", aerr)
				break
			}
			over[name] = done
		}
		if done {
			err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return err
}

func (s *Sidecar) custodyOver(ctx context.Context, name string, since time.Time) (bool, error) {
	id, err := jobspec.ParseJobID(name)
	if err != nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	over, err := s.cfg.Record.Over(ctx, id)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return s.now().Sub(since) > custodyYoung, nil
	}
	return over, err
}
