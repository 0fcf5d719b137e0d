package sidecar

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// askFor bounds how long the members are asked what they hold.
const askFor = 10 * time.Second

// site is a node that tasks can go to.
type site struct {
	id    identity.ID
	slots int    // tasks of the job at once
	held  bitmap // of what was asked
	bytes int64  // given to it so far
	far   string // XOR distance to the job, for ties
}

type bitmap []byte

func (b bitmap) has(i int) bool { return i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

func (b bitmap) set(i int) { b[i/8] |= 1 << (i % 8) }

func newBitmap(n int) bitmap { return make(bitmap, (n+7)/8) }

// spread says for each task of a plan which member holds its input. Items are
// dealt anew, so that each task's are of one holder. Without other members, or
// when they hold nothing, the plan stays as it is.
func (d *driver) spread(ctx context.Context, job jobspec.Job, plan jobspec.Plan) (jobspec.Plan, error) {
	sites := d.sites(job, plan)
	if len(sites) < 2 || len(plan.Tasks) == 0 {
		return plan, nil
	}
	items := allItems(plan)
	wanted := make([]jobspec.CID, 0, max(len(items), len(plan.Tasks)))
	for _, it := range items {
		wanted = append(wanted, it.CID)
	}
	whole := len(items) == 0 || job.Spec.Split.Shards()
	if whole {
		wanted = wanted[:0]
		for _, t := range plan.Tasks {
			wanted = append(wanted, t.Shard)
		}
	}
	if err := d.locate(ctx, sites, wanted); err != nil {
		return plan, err
	}
	if whole {
		for i := range plan.Tasks {
			t := &plan.Tasks[i]
			if s := nearest(sites, i, t.Bytes); s.id != d.Sidecar.id {
				t.Holder = s.id.String()
			}
		}
		return plan, nil
	}
	return d.deal(ctx, job, plan, sites, items)
}

// sites are the nodes that the job's tasks may go to, this one first.
func (d *driver) sites(job jobspec.Job, plan jobspec.Plan) []*site {
	res := job.Spec.Resources
	sites := []*site{{id: d.Sidecar.id, slots: d.placer.slots(res)}}
	if d.cfg.Crew == nil || job.Parent != "" || job.Origin != nil {
		return sites
	}
	for _, p := range d.cfg.Crew.Live() {
		slots := slotsIn(p.Capacity, res)
		if p.ID == d.Sidecar.id || slots == 0 || plan.Arch != wasi.Arch && plan.Arch != p.Arch {
			continue
		}
		sites = append(sites, &site{id: p.ID, slots: slots})
	}
	for _, s := range sites {
		s.far = distance(s.id, job.ID)
	}
	return sites
}

func slotsIn(whole, each jobspec.Resources) int {
	n := int64(whole.CPU / max(each.CPU, 1))
	return int(min(n, int64(whole.Memory/max(each.Memory, 1)), int64(whole.Disk/max(each.Disk, 1))))
}

// distance orders members by job: SHA-256 of the one XOR that of the other.
func distance(id identity.ID, job jobspec.JobID) string {
	a, b := sha256.Sum256([]byte(id)), sha256.Sum256([]byte(job))
	for i := range a {
		a[i] ^= b[i]
	}
	return string(a[:])
}

func allItems(p jobspec.Plan) (items []jobspec.Item) {
	for _, t := range p.Tasks {
		items = append(items, t.Items...)
	}
	slices.SortFunc(items, func(a, b jobspec.Item) int { return cmp.Compare(a.Path, b.Path) })
	return items
}

// locate asks every site which of the wanted DAGs it holds. Who does not answer
// in time holds nothing.
func (d *driver) locate(ctx context.Context, sites []*site, wanted []jobspec.CID) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var err error
	if sites[0].held, err = d.heldHere(ctx, wanted); err != nil {
		return fmt.Errorf("look what is held here: %w", err)
	}
	for _, s := range sites[1:] {
		s.held = newBitmap(len(wanted))
	}
	at := 0
	for part := range slices.Chunk(wanted, wire.MaxHolds) {
		list, err := d.publishJSON(ctx, pinName(d.id, "wanted"), part)
		if err != nil {
			return fmt.Errorf("store what is looked for: %w", err)
		}
		var asked sync.WaitGroup
		for _, s := range sites[1:] {
			asked.Go(func() {
				got, err := bus.Request[wire.Held](ctx, d.cfg.Post, s.id, typeHolds, wire.Holds{List: list})
				if err != nil {
					d.log.Info("member does not say what it holds", "member", s.id.Short(), "err", err)
					return
				}
				copy(s.held[at/8:], got.Bits[:min(len(got.Bits), (len(part)+7)/8)])
			})
		}
		asked.Wait()
		at += len(part)
	}
	return nil
}

// holds answers which of some DAGs are stored here.
func (s *Sidecar) holds(ctx context.Context, _ bus.Letter, q wire.Holds) (wire.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var wanted []jobspec.CID
	if err := s.readJSON(ctx, q.List, &wanted); err != nil {
		return wire.Held{}, err
	}
	if len(wanted) > wire.MaxHolds {
		return wire.Held{}, jobspec.KindLimit.Errorf("%d DAGs are asked for, at most %d are looked up", len(wanted), wire.MaxHolds)
	}
	held, err := s.heldHere(ctx, wanted)
	return wire.Held{Bits: held}, err
}

// heldHere looks at the roots only: what has a root has, as a rule, all of it,
// and who runs the task fetches what it lacks.
func (s *Sidecar) heldHere(ctx context.Context, wanted []jobspec.CID) (bitmap, error) {
	held := newBitmap(len(wanted))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
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

// nearest is the site that work i goes to: of those that hold it, or of all
// when none does, the one with the least bytes for its slots, then the nearest
// by hash. It is given the bytes.
func nearest(sites []*site, i int, bytes int64) *site {
	var best *site
	load := func(s *site) float64 { return float64(s.bytes) / float64(s.slots) }
	for _, s := range sites {
		switch {
		case best == nil:
		case s.held.has(i) != best.held.has(i):
			if !s.held.has(i) {
				continue
			}
		case load(s) > load(best), load(s) == load(best) && s.far > best.far:
			continue
		}
		best = s
	}
	best.bytes = min(best.bytes, math.MaxInt64-bytes-1) + bytes + 1
	return best
}

// deal gives each item to a site, and makes tasks of what each got: directories
// with those items only.
func (d *driver) deal(ctx context.Context, job jobspec.Job, plan jobspec.Plan, sites []*site, items []jobspec.Item) (jobspec.Plan, error) {
	by := map[*site][]jobspec.Item{}
	for i, it := range items {
		s := nearest(sites, i, it.Size)
		by[s] = append(by[s], it)
	}
	if len(by[sites[0]]) == len(items) {
		return plan, nil
	}
	var shards []jobspec.Shard
	for _, s := range sites {
		for _, batch := range jobspec.Batches(job.Spec, by[s], s.slots) {
			root, err := d.directoryOf(ctx, batch)
			if err != nil {
				return plan, fmt.Errorf("directory of %d items: %w", len(batch), err)
			}
			shard := jobspec.Shard{CID: root, Items: batch}
			for _, it := range batch {
				shard.Bytes += it.Size
			}
			if s.id != d.Sidecar.id {
				shard.Holder = s.id.String()
			}
			shards = append(shards, shard)
		}
	}
	return plan.WithShards(job.Spec, shards)
}

// directoryOf computes the directory that whoever runs the items builds too.
func (d *driver) directoryOf(ctx context.Context, items []jobspec.Item) (jobspec.CID, error) {
	return merge.Files(ctx, dry{d.cfg.IPFS}, itemFiles(items))
}

// dry is a session that keeps nothing, for CIDs alone.
type dry struct{ ipfs.Getter }

func (dry) Put(context.Context, jobspec.CID, []byte) error { return nil }

func itemFiles(items []jobspec.Item) []merge.File {
	files := make([]merge.File, len(items))
	for i, it := range items {
		files[i] = merge.File{Path: it.Path, CID: it.CID, Size: it.Size}
	}
	return files
}
