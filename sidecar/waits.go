package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// outside says of an error that it is neither about the job nor for good: the
// blocks or the state cannot be reached or written just now, or the process has
// as many files open as it may. A job waits for that until its own deadline, and
// goes on by itself.
func outside(err error) bool {
	return errors.Is(err, ipfs.ErrUnavailable) || errors.Is(err, store.ErrDisk) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// typed gives an error of a full disk its kind, unless it has one.
func typed(err error) error {
	if !durable.Full(err) || jobspec.AsFailure(err).Kind != jobspec.KindInternal {
		return err
	}
	hint := "free space on the node's disk: ipdc job prune, ipdc pin rm CID, then ipdc node gc; then submit again"
	if errors.Is(err, syscall.EROFS) {
		hint = "see what the node's kernel says (dmesg), and have its disk mounted read-write; then submit again"
	}
	return jobspec.Failure{Kind: jobspec.KindQuota, Where: "disk", Detail: err.Error(), Hint: hint}.Error()
}

// await counts how often and since when something is tried in vain.
type await struct {
	tries int
	since time.Time // of the first try; never set back
}

func (a *await) again() {
	if a.tries++; a.tries == 1 {
		a.since = time.Now()
	}
}

// mayWait says whether the job waits for what err is about: what is outside, and
// a full disk once a program has run, or where the owner of the task has other
// members for it.
func (d *driver) mayWait(err error, ran bool) bool {
	return outside(err) || durable.Full(err) && (ran || d.origin != nil)
}

// awaits says that the job waits for what err is about, and pauses.
func (d *driver) awaits(ctx context.Context, err error, a *await) {
	a.again()
	why := "waits: " + jobspec.AsFailure(err).Detail
	d.log.Warn("job waits", "job", d.id, "try", a.tries, "err", err)
	if a.tries == 1 && !errors.Is(err, store.ErrDisk) {
		d.note(d.keep(), jobspec.Event{Job: d.id, Type: jobspec.EventWait, Detail: why})
	}
	d.tellPull(why)
	defer d.tellPull("")
	if d.givesBack(err, *a) {
		return
	}
	pause(ctx, a.tries)
}

// givesBack ends a task of another member's job that has waited here for
// Config.Patience: its owner hears no more of it, and has it tried elsewhere.
func (d *driver) givesBack(err error, a await) bool {
	if d.origin == nil || time.Since(a.since) <= d.cfg.Patience {
		return false
	}
	d.cancel(jobspec.KindLost.Errorf("the node that had the task waited %s: %s", d.cfg.Patience, jobspec.AsFailure(err).Detail))
	return true
}

// persist is Store.Update for what has been done: while the disk takes nothing
// it waits, so that a result is not lost to a disk that somebody mends. fn may
// run several times.
func (d *driver) persist(ctx context.Context, fn func(*store.Tx) error) error {
	var waits await
	for {
		err := d.cfg.Store.Update(ctx, fn)
		if !errors.Is(err, store.ErrDisk) || ctx.Err() != nil {
			return err
		}
		waits.again()
		d.log.Warn("the state cannot be written; trying again", "job", d.id, "try", waits.tries, "err", err)
		d.givesBack(err, waits)
		pause(ctx, waits.tries)
	}
}

// enough returns why an attempt whose step went wrong is not continued; nil while
// it is. An engine that does not answer is waited for, and as long as the job
// has time where a program may be running; then the attempt is lost, so that
// the task can be tried again, perhaps elsewhere.
func (r *runner) enough(ctx context.Context, tries int, since time.Time, err error) error {
	switch away := errors.Is(err, executor.ErrAway); {
	case !away && tries > 6:
		return typed(fmt.Errorf("after %d tries: %w", tries, err))
	case away && time.Since(since) > r.cfg.Patience && (ctx.Err() != nil || !hasRun(r.att.State) && !r.unsure):
		return noEngine(jobspec.Failure{Where: fmt.Sprintf("task %d", r.task.Index), Detail: fmt.Sprintf("in %s: %v", r.cfg.Patience, err)})
	}
	return nil
}

// noEngine is the failure of what has waited for the engine long enough.
func noEngine(f jobspec.Failure) error {
	f.Kind, f.Hint = jobspec.KindLost, "is the container engine running? ipdc doctor; the node's setting engine-wait is how long it is waited for"
	return f.Error()
}

// pause waits before something is tried again: 0.25 s doubling to 8 s, with
// jitter.
func pause(ctx context.Context, tries int) {
	wait := 250 * time.Millisecond << min(tries-1, 5)
	wait += rand.N(wait / 4)
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}
