package sidecar

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// sweep removes containers, volumes, directories and pins that no row of this
// node knows. Each list is taken before the rows are read, so that what is
// being made meanwhile is never taken for a leftover: its row came first.
func (s *Sidecar) sweep(ctx context.Context) error {
	_ = s.learnStrict(ctx) // who needs it asks again
	return errors.Join(
		s.sweepRecorded(ctx),
		s.sweepContainers(ctx),
		s.sweepVolumes(ctx),
		s.sweepRunDirs(ctx),
		s.sweepKept(ctx),
		s.sweepJobs(ctx),
		s.refreshHanded(ctx),
		s.sweepCustody(ctx),
		s.sweepSchedules(ctx),
	)
}

// sweepTime bounds the removal of containers in one sweep, as an engine may be
// busy with each; the next sweep goes on.
const sweepTime = 30 * time.Second

// removeTime bounds one of them, so that a container that cannot be removed
// does not keep the others.
const removeTime = 10 * time.Second

func (s *Sidecar) sweepContainers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	list, err := s.cfg.Executor.List(ctx, s.prefix)
	if err != nil || len(list) == 0 {
		return err
	}
	live, err := s.liveAttempts(ctx)
	if err != nil {
		return err
	}
	from := rand.N(len(list)) // what is not come to in one sweep is in another
	for _, c := range slices.Concat(list[from:], list[:from]) {
		if ctx.Err() != nil {
			return err
		}
		id, perr := jobspec.ParseAttemptID(strings.TrimPrefix(c.Name, s.prefix))
		if perr == nil && live[id] {
			continue
		}
		s.log.Info("remove container that no row knows", "container", c.Name)
		once, cancel := context.WithTimeout(ctx, removeTime)
		rerr := s.cfg.Executor.Remove(once, c.ID)
		cancel()
		if rerr != nil {
			s.metrics.stuck.Inc()
			err = errors.Join(err, rerr)
		}
	}
	return err
}

func (s *Sidecar) sweepVolumes(ctx context.Context) error {
	names, err := s.cfg.Volumes.List(ctx)
	if err != nil {
		return err
	}
	return s.sweepNames(ctx, names, func(name string) error { return s.cfg.Volumes.Remove(ctx, name) })
}

func (s *Sidecar) sweepRunDirs(ctx context.Context) error {
	names, err := dirNames(filepath.Join(s.cfg.Dir, "run"))
	if err != nil {
		return err
	}
	return s.sweepNames(ctx, names, func(name string) error {
		return removeRunDir(filepath.Join(s.cfg.Dir, "run", name))
	})
}

// sweepNames calls remove for each name that is not a live attempt's.
func (s *Sidecar) sweepNames(ctx context.Context, names []string, remove func(string) error) error {
	if len(names) == 0 {
		return nil
	}
	live, err := s.liveAttempts(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if id, perr := jobspec.ParseAttemptID(name); perr != nil || !live[id] {
			err = errors.Join(err, remove(name))
		}
	}
	return err
}

// liveAttempts returns the attempts that may have something on this machine.
func (s *Sidecar) liveAttempts(ctx context.Context) (map[jobspec.AttemptID]bool, error) {
	live := map[jobspec.AttemptID]bool{}
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.LiveAttempts()
		for _, a := range list {
			live[a.ID] = true
		}
		return err
	})
	return live, err
}

// sweepJobs removes pins and logs of jobs that have no row, and the pins that
// a final job no longer needs.
func (s *Sidecar) sweepJobs(ctx context.Context) error {
	pins, err := s.cfg.IPFS.Pins(ctx, "job/")
	if err != nil {
		return err
	}
	logs, err := dirNames(filepath.Join(s.cfg.Dir, "logs"))
	if err != nil {
		return err
	}
	var states map[jobspec.JobID]jobspec.JobState // without a row: ""
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		states, err = tx.States()
		return err
	})
	if err != nil {
		return err
	}
	ended := map[jobspec.JobID]int{} // how many pins they have of attempts that may be held otherwise
	for _, p := range pins {
		id, what, _ := strings.Cut(strings.TrimPrefix(p.Name, "job/"), "/")
		st := states[jobspec.JobID(id)]
		if st.Final() && strings.HasPrefix(what, "attempt/") && !ofItems(what) {
			ended[jobspec.JobID(id)]++
		}
		if st != "" && (!st.Final() || what == "result" || what == "partial" || keptOutputs(what) || ofItems(what) || strings.HasPrefix(what, mergedPins) || strings.HasPrefix(what, "attempt/")) {
			continue
		}
		err = errors.Join(err, s.cfg.IPFS.Unpin(ctx, p.Name))
	}
	for _, id := range logs {
		if states[jobspec.JobID(id)] == "" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.cfg.Dir, "logs", id)))
		}
	}
	looked := map[jobspec.JobID]int{}
	for id, n := range ended {
		if s.looked[id] == n { // one that failed without a result holds them on purpose
			looked[id] = n
			continue
		}
		done, eerr := s.sweepEnded(ctx, id)
		if err = errors.Join(err, eerr); done && eerr == nil {
			looked[id] = n
		}
	}
	s.looked = looked
	return err
}

// sweepEnded removes the pins that a final job needed on its way, as its driver
// does unless the node is killed right after the job's last row. It reports
// false for a job that still has its driver.
func (s *Sidecar) sweepEnded(ctx context.Context, id jobspec.JobID) (done bool, err error) {
	s.mu.Lock()
	driven := s.drivers[id] != nil
	s.mu.Unlock()
	if driven {
		return false, nil
	}
	d := &driver{Sidecar: s, id: id}
	job, err := d.load(ctx)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return true, nil // removed meanwhile, with its pins
	}
	if err != nil {
		return false, err
	}
	return true, d.dropInputs(job)
}

func dirNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
