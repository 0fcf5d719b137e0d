package sidecar

import (
	"context"
	"errors"
	"fmt"
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
	roots := []jobspec.CID{spec}
	var needs []jobspec.CID
	for _, st := range stagesOf(job) {
		needs = append(needs, st.Spec.Run.Code, st.Spec.Run.Requirements)
	}
	for i, c := range needs {
		if !c.Defined() || slices.Contains(needs[:i], c) {
			continue
		}
		if has, err := s.cfg.IPFS.Has(ctx, c); err != nil {
			return err
		} else if has {
			roots = append(roots, c)
		}
	}
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
		return nil
	case refused != nil:
		return refused
	}
	return k.NoQuorum(answered).Error()
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
