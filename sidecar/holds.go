package sidecar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// askFor bounds how long the members look up one list of blocks.
const askFor = 10 * time.Second

// work is a job's input as it is placed: units, and the blocks that their bytes
// lie in. What a node holds is counted in these blocks, as a root says nothing
// of what is below it. The owner lists them; nobody else reads a DAG for it.
type work struct {
	items []jobspec.Item // one unit each; nil when the units are tasks
	units []unit
	parts []jobspec.CID // each once
	sizes []int64       // of parts
}

// unit is what goes to one node as a whole.
type unit struct {
	*work
	parts []int // in work.parts
	bytes int64 // of content
	found int64 // of it in parts
	name  string
}

// heldBy returns the bytes of u that a site holds.
func (u unit) heldBy(s *site) (held int64) {
	for _, i := range u.parts {
		if s.held.has(i) {
			held += u.sizes[i]
		}
	}
	return held
}

type bitmap []byte

func (b bitmap) has(i int) bool { return i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

func (b bitmap) set(i int) { b[i/8] |= 1 << (i % 8) }

func newBitmap(n int) bitmap { return make(bitmap, (n+7)/8) }

// workOf lists the blocks of what a plan reads.
func (d *driver) workOf(ctx context.Context, st stage, plan jobspec.Plan) (*work, error) {
	l := lister{driver: d, work: &work{}, seen: map[jobspec.CID]int{}, blind: st.Spec.Place.Prefer == jobspec.PreferAny && !d.dry, near: st.near()}
	if st.Spec.Run.Per == jobspec.PerItem && !st.Spec.Split.Shards() && st.Spec.Split.Into == 0 {
		l.items = allItems(plan)
		for _, it := range l.items {
			u := unit{work: l.work, bytes: it.Size, name: it.Path}
			if err := l.file(ctx, &u, it.CID, it.Size); err != nil {
				return nil, err
			}
			l.units = append(l.units, u)
		}
		return l.work, nil
	}
	for _, t := range plan.Tasks {
		u := unit{work: l.work, bytes: t.Bytes, name: fmt.Sprintf("task %d", t.Index)}
		if err := l.task(ctx, &u, plan, t); err != nil {
			return nil, err
		}
		l.units = append(l.units, u)
	}
	return l.work, nil
}

// lister fills in a work.
type lister struct {
	*driver
	*work
	seen  map[jobspec.CID]int
	blind bool // nobody is asked: no block is listed
	near  bool // what is listed is of an earlier stage
}

func (l lister) task(ctx context.Context, u *unit, plan jobspec.Plan, t jobspec.Task) error {
	switch {
	case l.blind || !t.Shard.Defined():
		return nil
	case plan.As == jobspec.AsCAR: // any DAG: its root speaks for it
		l.add(u, t.Shard, t.Bytes)
		return nil
	}
	for _, it := range t.Items {
		if err := l.file(ctx, u, it.CID, it.Size); err != nil {
			return err
		}
	}
	if len(t.Items) > 0 {
		return nil
	}
	if l.near {
		return l.linked(ctx, u, tree.Link{CID: t.Shard, Tsize: uint64(t.Bytes)}, 2)
	}
	return tree.Outline(ctx, l.cfg.IPFS, t.Shard, l.listing(), func(e tree.Entry) error {
		if e.Kind != tree.File {
			return nil
		}
		return l.file(ctx, u, e.CID, e.Size)
	})
}

// linked lists what the directories of some levels link to, as far as that is
// not too much: whoever made it, for an earlier stage, holds it as a whole.
func (l lister) linked(ctx context.Context, u *unit, at tree.Link, levels int) error {
	if len(l.parts) >= maxLinked {
		return nil
	}
	if levels == 0 || at.CID.Cid().Prefix().Codec == cid.Raw {
		l.add(u, at.CID, int64(min(at.Tsize, 1<<50)))
		return nil
	}
	links, err := tree.Links(ctx, l.cfg.IPFS, at.CID, l.listing())
	if errors.Is(err, jobspec.KindUnixFS.Error()) { // a file
		return l.linked(ctx, u, at, 0)
	}
	for _, next := range links {
		if err == nil {
			err = l.linked(ctx, u, next, levels-1)
		}
	}
	return err
}

// maxLinked is how many runs of earlier stages are looked for at other members:
// with more, each task reads of all of them.
const maxLinked = 10_000

// listing bounds the reading of what was measured before, by its nodes.
func (l lister) listing() ipfs.Budget {
	b := l.cfg.Budget
	b.Bytes, b.Blocks, b.Entries = math.MaxInt64, math.MaxInt64, max(b.Entries, l.cfg.Limits.Dataset)
	return b
}

func (l lister) file(ctx context.Context, u *unit, c jobspec.CID, size int64) error {
	switch {
	case l.blind:
		return nil
	case c.Cid().Prefix().Codec == cid.Raw:
		l.add(u, c, size)
		return nil
	}
	return tree.Parts(ctx, l.cfg.IPFS, c, l.listing(), func(c jobspec.CID, size int64) error {
		l.add(u, c, size)
		return nil
	})
}

func (l lister) add(u *unit, c jobspec.CID, size int64) {
	i, known := l.seen[c]
	if !known {
		i = len(l.parts)
		l.seen[c] = i
		l.parts, l.sizes = append(l.parts, c), append(l.sizes, size)
	}
	u.parts, u.found = append(u.parts, i), u.found+size
}

// locate asks every site which of the work's blocks it holds. Who does not
// answer in time holds nothing.
func (d *driver) locate(ctx context.Context, list sites, w *work) error {
	for _, s := range list {
		s.held = newBitmap(len(w.parts))
	}
	at := 0
	for part := range slices.Chunk(w.parts, wire.MaxHolds) {
		if err := d.ask(ctx, list, part, at); err != nil {
			return err
		}
		at += len(part)
	}
	for _, s := range list {
		for i, size := range w.sizes {
			if s.held.has(i) {
				s.local += size
			}
		}
	}
	return nil
}

// ask asks for some blocks, which begin at a whole byte of the bitmaps. Each
// list has a pin of its own, which goes when all have answered.
func (d *driver) ask(whole context.Context, list sites, part []jobspec.CID, at int) error {
	ctx, cancel := context.WithTimeout(whole, askFor)
	defer cancel()
	pin := pinName(d.id, "wanted/"+rand.Text())
	var asked sync.WaitGroup
	defer func() {
		if err := d.cfg.IPFS.Unpin(context.WithoutCancel(ctx), pin); err != nil {
			d.log.Warn("unpin a list of blocks", "job", d.id, "err", err)
		}
	}()
	defer asked.Wait()
	var question jobspec.CID
	for _, s := range list {
		if s.id == d.Sidecar.id {
			continue
		}
		if !question.Defined() {
			var err error
			if question, err = d.publishJSON(ctx, pin, part); err != nil {
				return fmt.Errorf("store what is looked for: %w", err)
			}
		}
		asked.Go(func() {
			got, err := bus.Request[wire.Held](ctx, d.cfg.Post, s.id, typeHolds, wire.Holds{List: question})
			if err != nil {
				d.log.Info("member does not say what it holds", "member", s.id.Short(), "err", err)
				return
			}
			copy(s.held[at/8:], got.Bits[:min(len(got.Bits), (len(part)+7)/8)])
			s.attached = s.attached || got.Attached
		})
	}
	for _, s := range list {
		if s.id == d.Sidecar.id {
			here, err := d.heldHere(whole, part) // a Kubo takes long over many, and it is this node's own
			if err != nil {
				return fmt.Errorf("look what is held here: %w", err)
			}
			copy(s.held[at/8:], here)
			s.attached = s.attached || d.attachedAmong(part)
		}
	}
	return nil
}

// holds answers which of some blocks are stored here.
func (s *Sidecar) holds(ctx context.Context, _ bus.Letter, q wire.Holds) (wire.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var wanted []jobspec.CID
	if err := s.readJSON(ctx, q.List, &wanted); err != nil {
		return wire.Held{}, err
	}
	if len(wanted) > wire.MaxHolds {
		return wire.Held{}, jobspec.KindLimit.Errorf("%d blocks are asked for, at most %d are looked up", len(wanted), wire.MaxHolds)
	}
	held, err := s.heldHere(ctx, wanted)
	return wire.Held{Bits: held, Attached: s.attachedAmong(wanted)}, err
}

// attachedAmong says whether some of the first blocks lie in attached files.
func (s *Sidecar) attachedAmong(wanted []jobspec.CID) bool {
	return slices.ContainsFunc(wanted[:min(len(wanted), 16*lookBlocks)], func(c jobspec.CID) bool { return c.Defined() && s.cfg.Attached.Has(c) })
}

// heldHere looks up blocks, and reads none.
func (s *Sidecar) heldHere(ctx context.Context, wanted []jobspec.CID) (bitmap, error) {
	held := newBitmap(len(wanted))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for i, c := range wanted {
		if !c.Defined() {
			continue
		}
		g.Go(func() error {
			ok, err := s.cfg.IPFS.Has(ctx, c)
			if ok {
				mu.Lock()
				defer mu.Unlock()
				held.set(i)
			}
			return err
		})
	}
	return held, g.Wait()
}

// lookups is how many blocks are looked up at once: a Kubo answers each over
// its RPC.
const lookups = 16

// allHeld refuses work of which some unit is held as a whole by nobody.
func (w *work) allHeld(open sites) error {
	var missing int
	var first string
	for _, u := range w.units {
		if len(open.holding(u)) == 0 {
			if missing++; missing == 1 {
				first = u.name
			}
		}
	}
	if missing == 0 {
		return nil
	}
	var total int64
	for _, size := range w.sizes {
		total += size
	}
	unfit := make(jobspec.Unfit, len(open))
	for i, s := range open {
		unfit[i] = []string{fmt.Sprintf("holds %s of %s", about(s.local), about(total))}
	}
	what := "tasks"
	if w.items != nil {
		what = "files"
	}
	return jobspec.Failure{
		Kind: jobspec.KindPolicy, Where: "place.require.data",
		Detail: fmt.Sprintf("%d of %d %s are held as a whole by no member that may run them, the first is %s; %s", missing, len(w.units), what, first, unfit),
		Hint:   "pin the input on a member (ipdc pin add CID/path), or let tasks fetch what they lack: --place prefer",
	}.Error()
}

// holding returns the sites that hold all of a unit.
func (l sites) holding(u unit) sites {
	return l.that(func(s *site) bool { return u.heldBy(s) == u.found })
}

// about is a number of bytes in the largest unit of which there is one.
func about(n int64) string {
	for _, u := range []struct {
		size jobspec.Bytes
		name string
	}{{jobspec.GiB << 10, "TiB"}, {jobspec.GiB, "GiB"}, {jobspec.MiB, "MiB"}, {jobspec.KiB, "KiB"}} {
		if n >= int64(u.size) {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
