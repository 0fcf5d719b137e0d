package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire/guest"
)

// outcome is what the guest reported about a task. It comes out of the
// container, so it explains but never decides: the exit code is the engine's.
type outcome struct {
	done   int                   // items that were done or failed
	items  map[string]*itemDone  // by path; nil until its line came
	start  *guest.Line           // the command could not be started
	why    string                // what went wrong, where the program knows it; "" = it does not
	counts map[string]int64      // what the program counted
	end    *guest.Line           // the guest came to its end
	quota  bool                  // an item failed because /outputs is full
	failed []jobspec.ItemError   // at most maxItemErrors
	tried  map[string]guest.Line // by path: the last try of items that were to be tried again
	brief  bool                  // what items wrote to stderr is not kept
	nfail  int

	largest  int64 // bytes of the task's largest item
	memories map[jobspec.CID]store.Remembered
}

type itemDone struct {
	outputs []string
	err     string
	line    guest.Line // all of it
}

// maxItemErrors is how many items' errors are kept in an attempt's record.
const maxItemErrors = 100

// report reads a task's report as it grows. It counts only items that the task
// has, each of them once.
type report struct {
	file string
	at   int64
	out  outcome
}

func newReport(dir string, task jobspec.Task) *report {
	items, largest := make(map[string]*itemDone, len(task.Items)), int64(0)
	for _, it := range task.Items {
		items[it.Path] = nil
		largest = max(largest, it.Size)
	}
	return &report{file: filepath.Join(dir, guest.Report), out: outcome{items: items, largest: largest}}
}

// read takes in the lines that have come since the last call.
func (p *report) read() error {
	for more := true; more; {
		b, err := guest.Tail(p.file, p.at, guest.Limits{})
		if err != nil {
			return err
		}
		for _, line := range b.Lines {
			p.out.add(line)
		}
		p.at, more = b.Offset, b.More
	}
	return nil
}

func (o *outcome) add(l guest.Line) {
	switch l.Type {
	case guest.LineStartError:
		o.start = &l
	case guest.LineFailure:
		o.why, o.quota = cmp.Or(o.why, l.Detail), o.quota || l.Kind == guest.KindQuota
	case guest.LineCounters:
		o.counts = l.Counters
	case guest.LineEnd:
		o.end = &l
	case guest.LineRetry:
		if seen, ok := o.items[l.Path]; ok && seen == nil {
			if o.tried == nil {
				o.tried = map[string]guest.Line{}
			}
			o.tried[l.Path] = l
		}
	case guest.LineItem:
		if seen, ok := o.items[l.Path]; !ok || seen != nil {
			return
		}
		o.done++
		if o.brief {
			l.Stderr = ""
		}
		o.items[l.Path] = &itemDone{outputs: l.Outputs, err: l.Error, line: l}
		delete(o.tried, l.Path)
		o.quota = o.quota || l.Kind == guest.KindQuota
		if l.Error == "" {
			return
		}
		o.nfail++
		if len(o.failed) < maxItemErrors {
			o.failed = append(o.failed, jobspec.ItemError{Path: l.Path, Detail: l.Error})
		}
	}
}

// conclude reads the whole report and decides how the attempt ended. why is
// set when the sidecar itself stopped the container.
func (r *runner) conclude(ctx context.Context, exit executor.Exit, why *jobspec.Failure) error {
	rep := newReport(r.vol.Report, r.task)
	if err := rep.read(); err != nil {
		r.log.Warn("read report", "attempt", r.att.ID, "err", err) // the program's doing; its exit code still counts
	}
	r.outcome = rep.out
	r.att.ItemsDone, r.att.ItemErrors, r.att.Counters = rep.out.done, rep.out.failed, rep.out.counts
	r.att.ItemsFailed = rep.out.nfail
	full, err := r.cfg.Volumes.Full(ctx, r.att.ID.String())
	if err != nil {
		r.log.Warn("look at outputs volume", "attempt", r.att.ID, "err", err)
	}
	r.att.Failure = judge(exit, why, rep.out, full, r.job.Spec.Resources, r.cfg.Limits.files(r.job))
	if f := r.att.Failure; f != nil && f.Where == "" {
		f.Where = fmt.Sprintf("task %d", r.task.Index)
	}
	if r.job.Origin == nil && r.gate.isOver() {
		r.att.Failure = nil // its gang has succeeded
	}
	r.progress(ctx, r.job, r.task.Index, rep.out.done, true)
	return nil
}

// judge turns an exit into a failure, or nil. What the sidecar did comes
// first, then what the engine saw, then what the guest says. A success with a
// full volume, or with items that were not done, is none: its outputs may be
// cut, and they would be remembered.
func judge(exit executor.Exit, why *jobspec.Failure, out outcome, full bool, res jobspec.Resources, files int64) *jobspec.Failure {
	f := jobspec.Failure{ExitCode: exit.Code}
	switch {
	case why != nil:
		f = *why
		f.ExitCode = exit.Code
	case exit.Code == 0 && !full && len(out.items) == out.done:
		return nil
	case exit.Code == 0 && !full:
		f.Kind = jobspec.KindNoOutput
		f.Detail = fmt.Sprintf("the program ended early: %d of %d files were done, and it reported success", out.done, len(out.items))
		f.Hint = "see ipdc job logs; the program must not exit before its last file"
	case exit.OOM:
		f.Kind = jobspec.KindOOM
		f.Detail = fmt.Sprintf("killed because it needed more memory than its limit of %s", res.Memory)
		f.Hint = fmt.Sprintf("raise it, for example with --memory %s (resources.memory)", moreMemory(res.Memory, out.largest))
	case full || out.quota:
		f.Kind = jobspec.KindQuota
		f.Detail = fmt.Sprintf("/outputs is full: its limits are %s and %d files", res.Disk, files)
		f.Hint = fmt.Sprintf("raise it, for example with --disk %s (resources.disk), or write less; the number of files is the node's setting task-files", 2*res.Disk)
	case out.start != nil:
		f.Kind, f.Detail = jobspec.KindImageRun, out.start.Detail
		f.Hint = "check the command, and that the image holds it"
	case out.end != nil && out.end.Signal > 0, out.end == nil && exit.Code > guest.ExitSignal:
		f.Kind = jobspec.KindSignal
		f.Detail = cmp.Or(out.why, fmt.Sprintf("ended by signal %d", exit.Code-guest.ExitSignal))
	default:
		f.Kind = jobspec.KindExit
		f.Detail = cmp.Or(out.why, fmt.Sprintf("the program ended with exit code %d", exit.Code))
	}
	if len(out.failed) > 0 && (f.Kind == jobspec.KindExit || f.Kind == jobspec.KindSignal) {
		e := out.failed[0]
		f.Detail = fmt.Sprintf("%s: %s", e.Path, e.Detail)
		f.Hint = "see ipdc job logs; --keep-going goes on with the other files"
	}
	f.Hint = cmp.Or(f.Hint, "see ipdc job logs")
	return &f
}

// pack turns /outputs into a DAG that is stored and pinned. Outputs that are
// refused become the attempt's failure.
func (r *runner) pack(ctx context.Context) (err error) {
	if err := r.fileStill(); err != nil {
		return err
	}
	if r.vol, err = r.volume(ctx); err != nil {
		return err
	}
	if err := r.cfg.Volumes.ReadOnly(ctx, r.att.ID.String()); err != nil {
		return fmt.Errorf("make outputs read-only: %w", err)
	}
	root, err := r.cfg.IPFS.Add(ctx, attemptPin(r.att.ID), func(w ipfs.Session) (jobspec.CID, error) {
		res, err := pack.Tree(ctx, w, r.vol.Outputs, pack.Options{Budget: ipfs.Budget{
			Bytes: int64(r.job.Spec.Resources.Disk), Entries: 2 * r.cfg.Limits.files(r.job),
		}})
		return res.CID, err
	})
	var fe *jobspec.FailureError
	if errors.As(err, &fe) && !outside(err) {
		f := jobspec.AsFailure(at("outputs", err))
		f.Hint = cmp.Or(f.Hint, "write only files, directories, and links that stay inside /outputs, with plain names")
		if r.att.Failure == nil {
			r.att.Failure = &f
		}
		return nil
	}
	r.att.Output = root
	return err
}

// sign makes the receipt and what the job's success adds to the memory.
func (r *runner) sign(ctx context.Context) (err error) {
	if r.outcome.items == nil {
		rep := newReport("", r.task) // packed by an earlier process; the report may be gone
		if v, err := r.volume(ctx); err == nil {
			rep = newReport(v.Report, r.task)
			_ = rep.read()
		}
		r.outcome = rep.out
	}
	rc := jobspec.Receipt{
		Version: jobspec.ReceiptVersion, Attempt: r.att.ID.String(), Token: r.att.Token,
		SpecCID: r.plan.SpecCID, TaskKey: r.task.Key, Input: r.task.Shard, Image: r.plan.Image, Packages: r.plan.Packages,
		ExitCode: r.att.ExitCode, Output: r.att.Output,
		Started: r.att.Started, Exited: r.att.Exited, Worker: r.Sidecar.id.String(),
	}
	if o := r.job.Origin; o != nil {
		rc.Attempt, rc.Token = o.Attempt, o.Token
		content, nodes := r.moved.Bytes()
		rc.Usage.MovedContent, rc.Usage.MovedNodes = jobspec.Bytes(content), jobspec.Bytes(nodes)
	}
	rc.Usage.NetIn, rc.Usage.NetOut = r.att.NetIn, r.att.NetOut
	rc.Usage.PeerIn, rc.Usage.PeerOut = r.att.PeerIn, r.att.PeerOut
	rc.Usage.Wall = jobspec.Duration(r.att.Exited.Sub(r.att.Started))
	if end := r.outcome.end; end != nil {
		rc.Usage.CPU, rc.Usage.MaxMemory = jobspec.Duration(end.CPU), jobspec.Bytes(end.MaxRSS)
	}
	if len(r.task.Items) > 0 {
		if r.att.Items, err = r.storeItems(ctx, itemsPin(r.att.ID), itemEnds(r.task, r.outcome)); err != nil {
			return fmt.Errorf("store the record of items: %w", err)
		}
	}
	if r.att.Failure != nil {
		rc.Kind = r.att.Failure.Kind
	}
	if rc, err = jobspec.SignReceipt(r.cfg.Key, rc); err != nil {
		return fmt.Errorf("sign receipt: %w", err)
	}
	r.att.Receipt = &rc
	if r.att.Output.Defined() {
		r.outcome.memories, err = r.memories(ctx, r.att, r.outcome)
	}
	return err
}

// moreMemory returns what to try when had was too little for a program whose
// largest file has so many bytes: at least twice as much, and room for that
// file beside what was there; a power of two, which is easy to type.
func moreMemory(had jobspec.Bytes, largest int64) jobspec.Bytes {
	need, try := max(2*had, had+jobspec.Bytes(largest)), jobspec.MiB
	for try < need {
		try *= 2
	}
	return try
}
