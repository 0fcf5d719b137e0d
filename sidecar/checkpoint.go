package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire/guest"
)

// Bounds of checkpoints.
const (
	checkpointEvery = 2 * time.Second // how often a new one is looked for
	checkpointNames = 1000            // that are looked at
	checkpointFetch = 10 * time.Minute
)

// finished is a directory of checkpoints as it was found.
type finished struct {
	name string
	made time.Time
}

// followCheckpoints packs the newest checkpoint of a gang's task whenever there
// is another one, until ctx ends. The channel gives the last one; nil = none.
func (r *runner) followCheckpoints(ctx context.Context) <-chan *jobspec.Checkpoint {
	last := make(chan *jobspec.Checkpoint, 1)
	if r.att.Peers == nil {
		close(last)
		return last
	}
	cp, w := r.att.Checkpoint, r.watcher()
	r.work.Go(func() {
		tick := time.NewTicker(checkpointEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
				cp = w.look(r.keep(), cp)
			}
		}
		if !r.shuttingDown() {
			cp = w.look(r.keep(), cp) // what came last
		}
		last <- cp
	})
	return last
}

// checkpointer looks for the checkpoints of one attempt.
type checkpointer struct {
	*driver
	id      jobspec.AttemptID
	task    jobspec.Task
	gang    jobspec.Peers
	stage   int
	outputs string
	limits  ipfs.Budget
	seen    finished // the last one, packed or refused
}

func (r *runner) watcher() *checkpointer {
	return &checkpointer{
		driver: r.driver, id: r.att.ID, task: r.task, gang: *r.att.Peers, stage: r.st.index, outputs: r.vol.Outputs,
		limits: ipfs.Budget{Bytes: int64(r.job.Spec.Resources.Disk), Entries: 2 * r.cfg.Limits.files(r.job)},
	}
}

// look packs the newest checkpoint unless it is old. What goes wrong is said
// in the log; the program goes on.
func (w *checkpointer) look(ctx context.Context, old *jobspec.Checkpoint) *jobspec.Checkpoint {
	// A program cannot lead out of the volume by links: Root follows none that do.
	root, err := os.OpenRoot(w.outputs)
	if err != nil {
		return old
	}
	defer root.Close()
	found, err := newest(root)
	if err != nil || found == w.seen || found.name == "" {
		return old
	}
	cp, err := w.pack(ctx, root, found)
	var fe *jobspec.FailureError
	if err == nil || errors.As(err, &fe) {
		w.seen = found
	}
	if err == nil && old != nil && cp.CID == old.CID && cp.Name == old.Name {
		return old // packed by an earlier process
	}
	if err == nil {
		err = w.note(ctx, cp)
	}
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("checkpoint", "attempt", w.id, "name", found.name, "err", err)
		}
		return old
	}
	return &cp
}

// newest returns the finished checkpoint that was made last; none has no name.
func newest(root *os.Root) (last finished, err error) {
	dir, err := root.Open(guest.Checkpoints)
	if err != nil {
		return last, err
	}
	defer dir.Close()
	list, err := dir.ReadDir(checkpointNames)
	for _, e := range list {
		fi, err := e.Info()
		if err != nil || !e.IsDir() || !jobspec.ValidCheckpointName(e.Name()) {
			continue
		}
		if c := fi.ModTime().Compare(last.made); last.name == "" || c > 0 || c == 0 && e.Name() > last.name {
			last = finished{e.Name(), fi.ModTime()}
		}
	}
	return last, err
}

// pack stores a checkpoint and pins it here until the next one.
func (w *checkpointer) pack(ctx context.Context, root *os.Root, f finished) (cp jobspec.Checkpoint, err error) {
	dir, err := root.Open(path.Join(guest.Checkpoints, f.name))
	if err != nil {
		return cp, err
	}
	defer dir.Close()
	cp = jobspec.Checkpoint{Name: f.name, Task: w.task.Name, Stage: w.stage, Generation: w.gang.Generation, Taken: w.now()}
	cp.CID, err = w.cfg.IPFS.Add(ctx, pinName(w.driver.id, fmt.Sprintf("packed/%d", w.task.Index)), func(s ipfs.Session) (jobspec.CID, error) {
		res, err := pack.Tree(ctx, s, fmt.Sprintf("/proc/self/fd/%d/.", dir.Fd()), pack.Options{Budget: w.limits})
		cp.Bytes = jobspec.Bytes(res.Bytes)
		return res.CID, err
	})
	if err != nil {
		return cp, err
	}
	now, err := dir.Stat()
	if err == nil && !now.ModTime().Equal(f.made) {
		err = fmt.Errorf("it changed while it was packed; make it elsewhere in /outputs and rename it: %w", fs.ErrInvalid)
	}
	return cp, err
}

// note writes a checkpoint into the attempt's record and has the owner of the
// job keep it.
func (w *checkpointer) note(ctx context.Context, cp jobspec.Checkpoint) error {
	err := w.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Attempt(w.id)
		if err != nil {
			return err
		}
		row.Checkpoint = &cp
		return tx.PutAttempt(row)
	})
	if err != nil {
		return fmt.Errorf("note checkpoint: %w", err)
	}
	job, err := w.load(ctx)
	if err != nil {
		return err
	}
	if job.Origin == nil {
		return w.keepCheckpoint(ctx, cp)
	}
	if w.started != nil {
		w.started() // the next sign of life is at once, and tells of it
	}
	return nil
}

// keepCheckpoint makes cp the newest checkpoint of this node's job, unless it
// has a newer one. It is pinned before the record names it, and the one before
// it until then.
func (d *driver) keepCheckpoint(ctx context.Context, cp jobspec.Checkpoint) error {
	unlock, err := d.loading.Lock(ctx, "checkpoint/"+d.id.String())
	if err != nil {
		return err
	}
	defer unlock()
	job, err := d.load(ctx)
	if err != nil || job.State.Final() || !cp.After(job.Checkpoint) {
		return err
	}
	if err := d.cfg.Room(ctx, int64(cp.Bytes)); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, checkpointFetch)
	defer cancel()
	keep := pinName(d.id, checkpointPins+cp.CID.String())
	if err := d.cfg.IPFS.Pin(ctx, keep, cp.CID); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	err = d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if job, err = tx.Job(d.id); err != nil {
			return err
		}
		job.Checkpoint = &cp
		return tx.PutJob(job)
	})
	if err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	d.hub.notify(d.id)
	pins, err := d.cfg.IPFS.Pins(ctx, pinName(d.id, checkpointPins))
	for _, p := range pins {
		if p.Name != keep {
			err = errors.Join(err, d.cfg.IPFS.Unpin(ctx, p.Name))
		}
	}
	return err
}

// checkpointPins begins the names of the pins of a job's checkpoints: one, but
// for the moment in which the next one takes its place.
const checkpointPins = "checkpoint/"

// resumeFrom is the newest checkpoint of the gang; undefined = there is none.
func (g *gang) resumeFrom(tx *store.Tx) (c jobspec.CID, err error) {
	job, err := tx.Job(g.id)
	if cp := job.Checkpoint; cp != nil && cp.Stage == g.st.index {
		c = cp.CID
	}
	return c, err
}

// tellsCheckpoint takes in the checkpoint that a member says it has, beside all
// else. It says so again, so that one which is missed comes later.
func (r *runner) tellsCheckpoint(a *away, cp *jobspec.Checkpoint) {
	if cp != nil && a.checkpoint.CompareAndSwap(false, true) {
		r.work.Go(func() {
			defer a.checkpoint.Store(false)
			r.takeCheckpoint(r.keep(), cp)
		})
	}
}

// takeCheckpoint takes in what a member says of a checkpoint. One that cannot be
// had is said in the log: the attempt is worth as much without.
func (r *runner) takeCheckpoint(ctx context.Context, cp *jobspec.Checkpoint) {
	if cp == nil || r.att.Peers == nil || !jobspec.ValidCheckpointName(cp.Name) || !cp.CID.Defined() || cp.Bytes < 0 {
		return
	}
	c := *cp
	c.Task, c.Stage, c.Generation = r.task.Name, r.st.index, r.att.Peers.Generation
	if now := r.now(); c.Taken.After(now) {
		c.Taken = now
	}
	if err := r.keepCheckpoint(ctx, c); err != nil && ctx.Err() == nil {
		r.log.Warn("checkpoint of a member", "job", r.id, "member", identity.ID(r.att.Node).Short(), "err", err)
	}
}
