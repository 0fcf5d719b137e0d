package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/joblog"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// delivered reports the end of the task, unless the node or its owner stopped
// it, and returns the record as it is then.
func (d *driver) delivered(ctx context.Context, job jobspec.Job, cause error) (jobspec.Job, error) {
	if d.shuttingDown() || errors.Is(cause, jobspec.KindStopped.Error()) {
		return job, cause
	}
	if errors.Is(context.Cause(ctx), errGivenBack) { // the owner is to know at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(d.keep(), giveBackFor)
		defer cancel()
	}
	if err := d.deliver(ctx, job, cause); err != nil {
		return job, err
	}
	if cause != nil {
		return job, cause
	}
	return d.load(ctx)
}

// deliver reports how the task ended, until its owner has it or does not want
// it any more. cause is why no program was run, or nil.
func (d *driver) deliver(ctx context.Context, job jobspec.Job, cause error) error {
	out, err := d.outcomeOf(ctx, job, cause)
	if err != nil {
		return err
	}
	c, err := d.publishJSON(ctx, pinName(d.id, "report"), out)
	if err != nil {
		return fmt.Errorf("store report: %w", err)
	}
	o := *job.Origin
	for tries := 1; ; tries++ {
		failpoint.Hit("reported.before-effect")
		once, cancel := context.WithTimeout(ctx, 30*time.Second)
		ans, err := bus.Request[wire.Reported](once, d.cfg.Post, ownerID(o), typeReport, wire.Report{Attempt: o.Attempt, Token: o.Token, Outcome: c})
		cancel()
		failpoint.Hit("reported.after-effect")
		switch {
		case err == nil && ans.Taken:
			return nil
		case isLeaseLost(err):
			d.log.Info("the report is refused", "job", d.id, "attempt", o.Attempt, "err", err)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			d.log.Warn("report", "job", d.id, "attempt", o.Attempt, "try", tries, "err", err)
		}
		pause(ctx, min(tries, 4))
	}
}

// outcomeOf is what is told of the job's one task.
func (d *driver) outcomeOf(ctx context.Context, job jobspec.Job, cause error) (wire.Outcome, error) {
	var out wire.Outcome
	plan, by, err := d.planned(ctx)
	if err != nil {
		return out, err
	}
	tries := by[plan.Tasks[0].Index]
	if len(tries) == 0 || tries[len(tries)-1].Receipt == nil {
		if cause == nil {
			cause = jobspec.KindInternal.Errorf("the task has no attempt")
		}
		f := jobspec.AsFailure(cause)
		out.Failure = &f
		return out, nil
	}
	att := tries[len(tries)-1]
	out.Receipt, out.Failure, out.ItemsDone, out.ItemErrors = att.Receipt, att.Failure, att.ItemsDone, att.ItemErrors
	out.Phases, out.Counters = att.Phases, att.Counters
	out.ItemsFailed, out.Record = att.ItemsFailed, att.Items
	out.Checkpoint = att.Checkpoint
	if out.Items, err = d.itemOutcomes(ctx, plan.Tasks[0]); err != nil {
		return out, err
	}
	out.Log, err = d.publishLog(ctx, att)
	return out, err
}

// publishLog stores the attempt's log as a file.
func (d *driver) publishLog(ctx context.Context, a jobspec.Attempt) (jobspec.CID, error) {
	if _, err := os.Stat(d.logFile(a.ID)); errors.Is(err, os.ErrNotExist) {
		return jobspec.CID{}, nil
	}
	return d.cfg.IPFS.Add(ctx, pinName(d.id, "log"), func(w ipfs.Session) (jobspec.CID, error) {
		pr, pw := io.Pipe()
		var g errgroup.Group
		g.Go(func() error {
			err := joblog.Copy(ctx, d.logFile(a.ID), 0, pw)
			pw.CloseWithError(err)
			return err
		})
		c, _, err := pack.File(ctx, w, pr)
		pr.CloseWithError(errNotRead)
		return c, errors.Join(err, g.Wait())
	})
}

// itemOutcomes returns what was remembered of each item of a task.
func (d *driver) itemOutcomes(ctx context.Context, t jobspec.Task) (list []wire.ItemOutcome, err error) {
	var known map[jobspec.CID]store.Remembered
	keys := make([]jobspec.CID, len(t.Items))
	for i, it := range t.Items {
		keys[i] = it.Key
	}
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		known, err = tx.Recall(keys)
		return err
	})
	for _, it := range t.Items {
		if m, ok := known[it.Key]; ok && m.Job == d.id {
			o := wire.ItemOutcome{Path: it.Path}
			for _, f := range m.Outputs {
				o.Outputs = append(o.Outputs, f.Path)
			}
			list = append(list, o)
		}
	}
	return list, err
}

// giveBackFor bounds how long an owner is told of a task that is given back. One
// that does not hear it misses the beats.
const giveBackFor = time.Minute

// maxLogFile bounds the log of an attempt as it travels, in bytes.
const maxLogFile = 256 << 20
