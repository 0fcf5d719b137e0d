package sidecar

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/wire/guest"
)

// The record of items is a file of JSON lines, a [jobspec.ItemEnd] each: of an
// attempt, pinned with it, and of what earlier jobs have done.

// maxItemsFile bounds such a file in bytes: the report that it is made of has
// 64 MiB, and items that were not run have little more than a path.
const maxItemsFile = 256 << 20

// itemEnds are the ends of a task's items, in its order.
func itemEnds(t jobspec.Task, o outcome) []jobspec.ItemEnd {
	ends := make([]jobspec.ItemEnd, len(t.Items))
	for i, it := range t.Items {
		ends[i] = jobspec.ItemEnd{Path: it.Path, State: jobspec.ItemSkipped, Task: t.Index}
		l := o.tried[it.Path]
		if done := o.items[it.Path]; done != nil {
			l = done.line
		}
		if l.Type == "" {
			continue
		}
		e := &ends[i]
		e.State, e.ExitCode, e.Signal, e.Error = jobspec.ItemDone, l.ExitCode, l.Signal, l.Error
		e.Stderr, e.StderrCut, e.Tries, e.Outputs = l.Stderr, l.StderrCut, max(l.Tries, 1), l.Outputs
		if l.Error != "" {
			e.State = jobspec.ItemFailed
		}
	}
	return ends
}

// storeItems pins a record of items.
func (s *Sidecar) storeItems(ctx context.Context, pin string, ends []jobspec.ItemEnd) (jobspec.CID, error) {
	return s.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
		pr, pw := io.Pipe()
		var g errgroup.Group
		g.Go(func() error {
			out := bufio.NewWriterSize(pw, 1<<20)
			enc, err := json.NewEncoder(out), error(nil)
			enc.SetEscapeHTML(false) // as such a line is up to six times as long
			for i := 0; i < len(ends) && err == nil; i++ {
				err = enc.Encode(ends[i])
			}
			err = errors.Join(err, out.Flush())
			pw.CloseWithError(err)
			return err
		})
		c, _, err := pack.File(ctx, w, pr)
		pr.CloseWithError(errNotRead)
		return c, errors.Join(err, g.Wait())
	})
}

// keepItems pins the record of items that a member made, within its bounds.
func (r *runner) keepItems(ctx context.Context, c jobspec.CID) error {
	if !c.Defined() {
		return nil
	}
	b := ipfs.Budget{Bytes: min(maxItemsFile, int64(len(r.task.Items))*maxItemLine), Entries: 1}
	err := tree.Walk(ctx, r.cfg.IPFS, c, b, func(e tree.Entry) error {
		if e.Kind != tree.File {
			return jobspec.KindSpec.Errorf("the record of items %s is no file", c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.cfg.IPFS.Pin(ctx, itemsPin(r.att.ID), c)
}

func itemsPin(id jobspec.AttemptID) string { return attemptPin(id) + "-items" }

// recalledPin holds the record of the items that earlier jobs have done.
const recalledPin = "items-known"

// ofItems says whether a pin of a job holds a record of its items. Those that tell
// how they ended live as long as the job's record.
func ofItems(what string) bool {
	return path.Base(what) == recalledPin || strings.HasPrefix(what, "attempt/") && strings.HasSuffix(what, "-items")
}

// keptRecords are the names of the pins of those attempts' records that tell how
// the job's items ended. A job of another node has none: its owner has them.
func (d *driver) keptRecords(ctx context.Context, job jobspec.Job) (map[string]bool, error) {
	kept := map[string]bool{}
	if job.Origin != nil {
		return kept, nil
	}
	err := d.cfg.Store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Attempts(d.id)
		for _, a := range deciding(all, reported) {
			if a.Items.Defined() {
				kept[itemsPin(a.ID)] = true
			}
		}
		return err
	})
	return kept, err
}

// Items yields how each item of a job ended, as far as it has: first those that
// were remembered, then task by task. The order stays the same.
func (s *Sidecar) Items(ctx context.Context, tenant, ref string, after api.ItemPlace, yield func(wire.Item) error) error {
	j, err := s.Job(ctx, tenant, ref)
	if err == nil && j.Recorded != nil {
		err = atOwner(j)
	}
	if err != nil {
		return err
	}
	plan, last, err := s.itemTasks(ctx, j.ID)
	if err != nil {
		return err
	}
	if err := s.recalledItems(ctx, j.ID, after, yield); err != nil {
		return err
	}
	for _, t := range plan.Tasks {
		if len(t.Items) == 0 || t.Index < after.Task {
			continue
		}
		ends, err := s.taskItems(ctx, t, last[t.Index], j.State.Final())
		if err != nil {
			return err
		}
		for i, e := range ends {
			at := api.ItemPlace{Task: t.Index, Index: i}
			if !after.Before(at) {
				continue
			}
			if err := yield(wire.Item{At: at.String(), ItemEnd: e}); err != nil {
				return err
			}
		}
	}
	return nil
}

// itemTasks returns a job's plan, which is empty before there is one, and the
// attempt that each task ended with so far.
func (s *Sidecar) itemTasks(ctx context.Context, id jobspec.JobID) (plan jobspec.Plan, last map[int]jobspec.Attempt, err error) {
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		plan, err = tx.Plan(id)
		if errors.Is(err, jobspec.KindNotFound.Error()) {
			return nil
		}
		if err != nil {
			return err
		}
		all, err := tx.Attempts(id)
		last = deciding(all, reported)
		return err
	})
	return plan, last, err
}

func (s *Sidecar) recalledItems(ctx context.Context, id jobspec.JobID, after api.ItemPlace, yield func(wire.Item) error) error {
	pins, err := s.cfg.IPFS.Pins(ctx, pinName(id, ""))
	if err != nil || !after.Begins() && after.Task >= 0 {
		return err
	}
	pins = slices.DeleteFunc(pins, func(p ipfs.Pin) bool { return path.Base(p.Name) != recalledPin })
	slices.SortStableFunc(pins, func(a, b ipfs.Pin) int { return stageOfPin(id, a.Name) - stageOfPin(id, b.Name) })
	i := -1
	for _, p := range pins {
		err := s.readItems(ctx, p.Root, func(e jobspec.ItemEnd) error {
			i++
			at := api.ItemPlace{Task: -1, Index: i}
			if !after.Before(at) {
				return nil
			}
			e.State = jobspec.ItemRemembered
			return yield(wire.Item{At: at.String(), ItemEnd: e})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stageOfPin is the index of the stage that a pin is of, or 0.
func stageOfPin(id jobspec.JobID, name string) (n int) {
	rest, _ := strings.CutPrefix(name, pinName(id, stagePins))
	index, _, _ := strings.Cut(rest, "/")
	n, _ = strconv.Atoi(index)
	return n
}

// taskItems returns how the items of a task ended. Only the task's own are taken
// from the record, which another node may have made.
func (s *Sidecar) taskItems(ctx context.Context, t jobspec.Task, a jobspec.Attempt, final bool) ([]jobspec.ItemEnd, error) {
	known := make(map[string]jobspec.ItemEnd, len(t.Items))
	for _, it := range t.Items {
		known[it.Path] = jobspec.ItemEnd{}
	}
	if a.Items.Defined() {
		err := s.readItems(ctx, a.Items, func(e jobspec.ItemEnd) error {
			if _, ok := known[e.Path]; ok {
				known[e.Path] = e
			}
			return nil
		})
		if err != nil {
			return nil, at("items of task", err)
		}
	}
	ends := make([]jobspec.ItemEnd, len(t.Items))
	for i, it := range t.Items {
		e := known[it.Path]
		if e.Path == "" {
			e = jobspec.ItemEnd{Path: it.Path, State: jobspec.ItemSkipped}
			if a.State == "" && !final {
				e.State = jobspec.ItemOpen
			}
		}
		e.Task = t.Index
		ends[i] = e
	}
	return ends, nil
}

// maxItemLine bounds a line of a record of items in bytes: a report's, with
// names spelled out.
const maxItemLine = 2 * guest.MaxLine

// readItems reads a record of items. Lines that are none, or too long, are passed
// over.
func (s *Sidecar) readItems(ctx context.Context, c jobspec.CID, yield func(jobspec.ItemEnd) error) error {
	pr, pw := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		_, err := tree.Copy(ctx, s.cfg.IPFS, c, pw, ipfs.Budget{Bytes: maxItemsFile})
		pw.CloseWithError(err)
		return err
	})
	err := eachItemEnd(pr, yield)
	pr.CloseWithError(errNotRead)
	if cerr := g.Wait(); err == nil && !errors.Is(cerr, errNotRead) {
		err = cerr
	}
	return err
}

func eachItemEnd(r io.Reader, yield func(jobspec.ItemEnd) error) error {
	in := bufio.NewReaderSize(r, maxItemLine)
	for tooLong := false; ; {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			tooLong = true
			continue
		}
		var e jobspec.ItemEnd
		if !tooLong && json.Unmarshal(line, &e) == nil && guest.ValidPath(e.Path) {
			if err := yield(e); err != nil {
				return err
			}
		}
		tooLong = false
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
