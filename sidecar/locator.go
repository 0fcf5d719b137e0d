package sidecar

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
)

// site is a node that tasks may go to.
type site struct {
	id       identity.ID
	peer     Peer
	slots    int      // tasks of the job at once
	pace     int      // likewise, as things are: one where the machine is busy
	free     int      // likewise, of what it last said to be free
	against  []string // why it never runs one
	overflow bool     // it is kept for tasks that waited for others
	held     bitmap   // of what was asked
	local    int64    // bytes of all that was asked that it holds
	given    int64    // bytes that it gets
	load     float64  // bytes and one for each unit, for its pace
	tasks    int      // likewise
	attached bool     // some of it lies in files that it serves in place
	far      string   // XOR distance to the job, for ties
}

// sites are the nodes that were looked at for a job's tasks, this one first.
type sites []*site

// sites looks at this node and at the members that live.
func (d *driver) sites(job jobspec.Job, plan jobspec.Plan) sites {
	self := Peer{ID: d.Sidecar.id, Arch: d.offered().Arch, Labels: d.cfg.Labels, Capacity: jobspec.Resources(d.cfg.Capacity), Free: jobspec.Resources(d.placer.offer()), Busy: d.Busy(), Strict: d.Strict()}
	list := sites{{id: self.ID, peer: self, against: d.against(job.Spec)}}
	if d.cfg.Crew != nil && job.Parent == "" && job.Origin == nil {
		for _, p := range d.cfg.Crew.Live() {
			if p.ID != d.Sidecar.id {
				list = append(list, &site{id: p.ID, peer: p, against: job.Spec.Against(p.Offer())})
			}
		}
	}
	for _, s := range list {
		if s.peer.Draining {
			s.against = append(s.against, "node: drains, it takes nothing new")
		}
		if plan.Arch != wasi.Arch && plan.Arch != "" && s.peer.Arch != plan.Arch {
			s.against = append(s.against, fmt.Sprintf("image: is for %s, runs %s", plan.Arch, cmp.Or(s.peer.Arch, "none")))
		}
		s.overflow = job.Spec.Place.Overflows(s.peer.Offer())
		s.slots = job.Spec.Resources.Slots(s.peer.Capacity)
		if s.pace = s.slots; s.peer.Busy {
			s.pace = 1
		}
		s.free = max(0, job.Spec.Resources.Slots(s.peer.Free))
		s.far = distance(s.id, job.ID)
	}
	return list
}

// open returns those that tasks go to now: who can run them, and is not kept
// for later unless there is nobody else.
func (l sites) open() sites {
	fit := l.that(func(s *site) bool { return len(s.against) == 0 })
	if first := fit.that(func(s *site) bool { return !s.overflow }); len(first) > 0 {
		return first
	}
	return fit
}

// late returns those that are kept for tasks that waited for others.
func (l sites) late() sites {
	return l.that(func(s *site) bool { return len(s.against) == 0 && s.overflow })
}

func (l sites) that(keep func(*site) bool) (some sites) {
	for _, s := range l {
		if keep(s) {
			some = append(some, s)
		}
	}
	return some
}

// unfit is why none of them runs a task.
func (l sites) unfit() jobspec.Unfit {
	u := make(jobspec.Unfit, len(l))
	for i, s := range l {
		u[i] = s.against
	}
	return u
}

// distance orders members by a job, or by what is to be held: SHA-256 of the
// one XOR that of the other.
func distance[T ~string](id identity.ID, to T) string {
	a, b := sha256.Sum256([]byte(id)), sha256.Sum256([]byte(to))
	for i := range a {
		a[i] ^= b[i]
	}
	return string(a[:])
}

// spread says for each task of a plan which node gets it, by what the spec
// says of places. Items are dealt anew, so that each task's are of one node.
// A node without others, which no table is asked of, keeps its plan.
func (d *driver) spread(ctx context.Context, st stage, plan jobspec.Plan) (jobspec.Plan, sites, error) {
	job := st.Job
	all, open, err := d.openSites(ctx, job, plan)
	if err != nil {
		return plan, all, err
	}
	if job.Spec.Gang != nil {
		chosen, err := all.seat(job.Spec.Gang.Count(), job.Spec.Place.MinWorkers, func(identity.ID) bool { return false })
		if err != nil { // who lives now: when it runs it waits for more
			if d.dry {
				return plan, all, err
			}
			return plan, all, nil
		}
		for i, s := range chosen {
			s.tasks++
			plan.Tasks[i].Holder = d.holder(s)
		}
		return plan, all, nil
	}
	alone := len(open) == 1 && open[0].id == d.Sidecar.id
	if len(plan.Tasks) == 0 {
		return plan, all, nil
	}
	if alone && !d.dry && !job.Spec.Place.LocalOnly() {
		plan, err := d.small(ctx, job, plan, open[0].slots)
		return plan, all, err
	}
	w, err := d.workOf(ctx, st, plan)
	if err != nil {
		return plan, all, fmt.Errorf("list the input: %w", err)
	}
	asked := open
	if d.dry {
		asked = all
	}
	if err := d.locate(ctx, asked, w); err != nil {
		return plan, all, err
	}
	late := all.late()
	if job.Spec.Place.LocalOnly() && len(late) == 0 {
		if err := w.allHeld(open); err != nil {
			return plan, all, err
		}
	}
	chosen := make([]*site, len(w.units))
	for i, u := range w.units {
		from := open
		if job.Spec.Place.LocalOnly() && len(late) > 0 && len(open.holding(u)) == 0 {
			from = late
		}
		chosen[i] = from.nearest(u, job.Spec.Place, st.near())
	}
	if w.items != nil {
		plan, err = d.deal(ctx, job, plan, all, w.items, chosen)
		return plan, all, err
	}
	away := false
	for i, s := range chosen {
		s.tasks++
		plan.Tasks[i].Holder = d.holder(s)
		away = away || s.id != d.Sidecar.id
	}
	if away && job.Spec.Run.Per == jobspec.PerItem && !job.Spec.Split.Shards() {
		plan, err = d.ownDirectories(ctx, job, plan)
	}
	return plan, all, err
}

// openSites looks at all nodes, and at those that tasks go to now. There is at
// least one of them, or an error. Whether this node runs strict jobs is waited
// for when nobody else runs this one.
func (d *driver) openSites(ctx context.Context, job jobspec.Job, plan jobspec.Plan) (all, open sites, err error) {
	look := func() error {
		silent := d.learnStrictFor(ctx, job.Spec)
		all = d.sites(job, plan)
		if open = all.open(); len(open) > 0 {
			return nil
		}
		if silent != nil {
			return silent
		}
		return all.unfit().Nobody().Error()
	}
	if d.dry || !d.wantsStrict(job.Spec) {
		err = look()
	} else {
		err = d.awaitStrict(ctx, look)
	}
	return all, open, err
}

// ownDirectories gives each batch of items a directory with those items only,
// so that who runs it fetches no others.
func (d *driver) ownDirectories(ctx context.Context, job jobspec.Job, plan jobspec.Plan) (jobspec.Plan, error) {
	shards := make([]jobspec.Shard, len(plan.Tasks))
	for i, t := range plan.Tasks {
		root, err := d.directoryOf(ctx, t.Items)
		if err != nil {
			return plan, fmt.Errorf("directory of %d items: %w", len(t.Items), err)
		}
		shards[i] = jobspec.Shard{CID: root, Items: t.Items, Bytes: t.Bytes, Holder: t.Holder}
	}
	return plan.WithShards(job.Spec, shards)
}

// holder is how a plan names a site.
func (d *driver) holder(s *site) string {
	if s.id == d.Sidecar.id {
		return ""
	}
	return s.id.String()
}

// nearest is the site that a unit of work goes to, and is given its bytes: who
// holds most of it, unless the spec asks for any; of equals the one with the
// least bytes for its pace, then the nearest by hash. Even comes first who has
// the least for its pace, and who holds most only of equals: what an earlier
// stage gave is held by the owner as a whole.
func (l sites) nearest(u unit, p jobspec.Place, even bool) *site {
	var best *site
	var most int64
	for _, s := range l {
		held := int64(0)
		if p.Prefer != jobspec.PreferAny {
			held = u.heldBy(s)
		}
		if best != nil {
			local, load := cmp.Compare(most, held), cmp.Compare(s.load, best.load)
			if even {
				local, load = load, local
			}
			if cmp.Or(local, load, cmp.Compare(s.far, best.far)) > 0 {
				continue
			}
		}
		best, most = s, held
	}
	best.given = min(best.given, math.MaxInt64-u.bytes) + u.bytes
	best.load += float64(u.bytes+1) / float64(best.pace)
	return best
}

// deal makes tasks of what each site got: directories with those items only. A
// plan that stays here as a whole stays as it is.
func (d *driver) deal(ctx context.Context, job jobspec.Job, plan jobspec.Plan, all sites, items []jobspec.Item, chosen []*site) (jobspec.Plan, error) {
	by := map[*site][]jobspec.Item{}
	for i, s := range chosen {
		by[s] = append(by[s], items[i])
	}
	if here := all[0]; len(by[here]) == len(items) {
		plan, err := d.small(ctx, job, plan, here.slots)
		here.tasks = len(plan.Tasks)
		return plan, err
	}
	var shards []jobspec.Shard
	for _, s := range all {
		most := int64(0)
		if s.attached && job.Spec.Split.By == jobspec.SplitAuto {
			most = attachedBatch(by[s], s.slots)
		}
		for _, batch := range jobspec.BatchesOf(job.Spec, by[s], s.slots, most) {
			root, err := d.directoryOf(ctx, batch)
			if err != nil {
				return plan, fmt.Errorf("directory of %d items: %w", len(batch), err)
			}
			shard := jobspec.Shard{CID: root, Items: batch, Holder: d.holder(s)}
			for _, it := range batch {
				shard.Bytes += it.Size
			}
			s.tasks++
			shards = append(shards, shard)
		}
	}
	return plan.WithShards(job.Spec, shards)
}

// allItems are the items of a plan in the order of their paths.
func allItems(p jobspec.Plan) (items []jobspec.Item) {
	for _, t := range p.Tasks {
		items = append(items, t.Items...)
	}
	slices.SortFunc(items, func(a, b jobspec.Item) int { return cmp.Compare(a.Path, b.Path) })
	return items
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
