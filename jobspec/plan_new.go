package jobspec

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"slices"
)

// A batch has at most maxBatchItems items and aims at maxBatchBytes, so that
// a lost task costs little and progress is seen.
const (
	maxBatchBytes = int64(256 * MiB)
	maxBatchItems = 1000
)

// NewPlan returns the plan of s: a pure function of its arguments. Defaults
// are filled in first.
//
// With per: task there is one task over the whole input. With per: item the
// items are dealt into batches: as many as there are slots, more when a batch
// would be over 256 MiB or 1000 items; the largest items first, each to the
// batch with the fewest bytes. A per: item job over an empty input has no
// tasks. Slots shape batches only; item keys do not depend on them. Where the
// spec asks for shards, each of them is a task, with all of its items. A gang
// has its own tasks: each reads the whole input, or the shard of its number.
//
// The error says what is wrong with f.
func NewPlan(s Spec, f Facts) (Plan, error) {
	s = s.WithDefaults()
	if err := f.check(s); err != nil {
		return Plan{}, fmt.Errorf("plan job: %w", err)
	}
	p := Plan{
		SpecCID: f.SpecCID, Image: f.Image, Arch: f.Arch, Input: f.Input, Tasks: []Task{},
		Dependencies: f.Dependencies, Packages: f.Packages,
	}
	if len(s.Inputs) > 0 && s.Inputs[0].As != AsFiles {
		p.As = s.Inputs[0].As
	}
	record := newKeyRecord(s, f)
	shards, err := f.shards(s, record)
	if err != nil {
		return Plan{}, err
	}
	return p.withTasks(s, record, shards)
}

func (p Plan) withTasks(s Spec, record keyRecord, shards []Shard) (_ Plan, err error) {
	p.Tasks = []Task{}
	var gang []GangTask
	if s.Gang != nil {
		if gang = s.Gang.Tasks(); len(gang) != len(shards) {
			return Plan{}, Failure{
				Kind: KindSpec, Where: "split", Detail: fmt.Sprintf("gives %d shards, and the gang has %d tasks, each of which reads one", len(shards), len(gang)),
				Hint: "give the gang as many tasks, split in another way, or leave split out so that each task reads the whole input",
			}.Error()
		}
	}
	for i, sh := range shards {
		t := Task{Index: i, Shard: sh.CID, Items: sh.Items, Bytes: sh.Bytes, Holder: sh.Holder}
		if gang != nil {
			t.Name = gang[i].Name
		}
		if s.Exposes(ExposeShard) {
			t.Count, t.Path = len(shards), sh.Path
			if len(t.Items) > 0 {
				t.Path = commonPathOf(t.Items)
			}
		}
		if t.Key, err = record.taskKey(s, p, t); err != nil {
			return Plan{}, err
		}
		p.Tasks = append(p.Tasks, t)
	}
	return p, nil
}

// WithShards returns p with a task for each shard in place of its tasks: the
// same items, dealt in another way. Item keys do not depend on that.
func (p Plan) WithShards(s Spec, shards []Shard) (Plan, error) {
	s = s.WithDefaults()
	record, shards := p.keyRecord(s), slices.Clone(shards)
	for i := range shards {
		var err error
		if shards[i].Items, err = record.withKeys(shards[i].Items); err != nil {
			return Plan{}, err
		}
	}
	return p.withTasks(s, record, shards)
}

// CheckTask returns an error of kind E_SPEC unless the keys of t and of its
// items are those that s and p give: whoever remembers what t gave relies on
// them.
func (p Plan) CheckTask(s Spec, t Task) error {
	s = s.WithDefaults()
	record := p.keyRecord(s)
	items, err := record.withKeys(t.Items)
	if err != nil {
		return err
	}
	if err := checkItems(t.Items); err != nil {
		return err
	}
	for i, it := range items {
		if it.Key != t.Items[i].Key {
			return KindSpec.Errorf("the key of item %q is not that of its content", clip(it.Path))
		}
	}
	key, err := record.taskKey(s, p, t)
	if err != nil {
		return err
	}
	if key != t.Key {
		return KindSpec.Errorf("the key of task %d is not that of its content", t.Index)
	}
	return nil
}

func (p Plan) keyRecord(s Spec) keyRecord {
	return newKeyRecord(s, Facts{Image: p.Image, Arch: p.Arch, Dependencies: p.Dependencies})
}

// inputsMode is p.As with its default.
func (p Plan) inputsMode() As {
	if p.As == "" {
		return AsFiles
	}
	return p.As
}

// BatchesOf deals items to a node that runs so many tasks at once, as [NewPlan]
// does, in batches of about most bytes each; 0 = as it does.
func BatchesOf(s Spec, items []Item, slots int, most int64) [][]Item {
	n := batchCount(s.WithDefaults(), Facts{Items: items, Slots: max(slots, 1)})
	if most > 0 && n > 0 {
		n = int(min(int64(len(items)), MaxInto, max(int64(n), sizeOf(items)/most+1)))
	}
	return deal(items, n)
}

// shards returns what each task gets, with the keys of its items: the shards
// of the facts, or the whole input with a batch of its items.
func (f Facts) shards(s Spec, record keyRecord) (out []Shard, err error) {
	switch {
	case s.Split.Shards() || len(f.Shards) > 0:
		out = slices.Clone(f.Shards)
		for i := range out {
			if out[i].Items, err = record.withKeys(out[i].Items); err != nil {
				return nil, err
			}
		}
	case s.Run.Per == PerItem:
		items, err := record.withKeys(f.Items)
		if err != nil {
			return nil, err
		}
		for _, batch := range deal(items, batchCount(s, f)) {
			out = append(out, Shard{CID: f.Input, Items: batch, Bytes: sizeOf(batch)})
		}
	default:
		out = []Shard{{CID: f.Input, Bytes: f.Bytes}}
	}
	if s.Gang != nil && len(out) == 1 && !s.Split.Shards() { // all of them see the whole
		out = slices.Repeat(out, s.Gang.Count())
	}
	return out, nil
}

// check holds what NewPlan relies on.
func (f Facts) check(s Spec) error {
	switch {
	case f.Image == "" || f.Arch == "":
		return KindInternal.Errorf("the image is not resolved")
	case f.Slots < 1:
		return KindInternal.Errorf("%d slots", f.Slots)
	case s.Run.Requirements.Defined() != f.Dependencies.Defined():
		return KindInternal.Errorf("the requirements are not installed")
	case s.Run.Per == PerItem && !f.Input.Defined():
		return KindInternal.Errorf("a per: item job has no input")
	}
	if err := checkItems(f.Items); err != nil {
		return err
	}
	for i, sh := range f.Shards {
		if !sh.CID.Defined() || s.Run.Per == PerItem && len(sh.Items) == 0 {
			return KindInternal.Errorf("shard %d lacks a CID or its items", i)
		}
		if err := checkItems(sh.Items); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}

func checkItems(items []Item) error {
	var total int64
	for i, it := range items {
		if i > 0 && items[i-1].Path >= it.Path {
			return KindDupName.Errorf("item %q is not after %q", clip(it.Path), clip(items[i-1].Path))
		}
		if it.Path == "" || !it.CID.Defined() || it.Size < 0 {
			return KindInternal.Errorf("item %d lacks a path, a CID or a size", i)
		}
		if it.Size > math.MaxInt64-total {
			return KindLimitBytes.Errorf("the items have more than 2^63-1 bytes")
		}
		total += it.Size
	}
	return nil
}

// CountItems returns how many items the job has.
func (f Facts) CountItems() int {
	n := len(f.Items)
	for _, sh := range f.Shards {
		n += len(sh.Items)
	}
	return n
}

func batchCount(s Spec, f Facts) int {
	items := len(f.Items)
	if s.Split.By == SplitNone {
		return min(1, items)
	}
	if s.Split.Into > 0 {
		return min(s.Split.Into, items)
	}
	bySize := sizeOf(f.Items)/maxBatchBytes + 1
	if sizeOf(f.Items)%maxBatchBytes == 0 {
		bySize--
	}
	byCount := (items + maxBatchItems - 1) / maxBatchItems
	return int(min(int64(items), max(int64(f.Slots), bySize, int64(byCount))))
}

// deal puts items into n batches by longest processing time first: each next
// smaller item goes to the batch with the fewest bytes, then the fewest items.
// Items in a batch are sorted by path, batches by their first path.
// Source: R. L. Graham, Bounds on Multiprocessing Timing Anomalies (1969).
func deal(items []Item, n int) [][]Item {
	if n == 0 {
		return nil
	}
	// With one batch (split: none) there is nowhere else to put an item.
	limit := maxBatchItems
	if n*maxBatchItems < len(items) {
		limit = len(items)
	}
	order := slices.Clone(items)
	slices.SortFunc(order, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Path, b.Path))
	})
	open := make(batchHeap, n)
	for i := range open {
		open[i] = &batch{index: i}
	}
	full := make([]*batch, 0, n)
	for _, it := range order {
		b := open[0]
		b.items = append(b.items, it)
		b.bytes += it.Size
		if len(b.items) == limit {
			full = append(full, heap.Pop(&open).(*batch))
		} else {
			heap.Fix(&open, 0)
		}
	}
	return sortBatches(append(full, open...))
}

func sortBatches(list []*batch) [][]Item {
	var batches [][]Item
	for _, b := range list {
		slices.SortFunc(b.items, func(x, y Item) int { return cmp.Compare(x.Path, y.Path) })
		if len(b.items) > 0 {
			batches = append(batches, b.items)
		}
	}
	slices.SortFunc(batches, func(x, y []Item) int { return cmp.Compare(x[0].Path, y[0].Path) })
	return batches
}

func sizeOf(items []Item) (total int64) {
	for _, it := range items {
		total += it.Size
	}
	return total
}

type batch struct {
	index int
	bytes int64
	items []Item
}

// batchHeap has the batch that takes the next item on top.
type batchHeap []*batch

func (h batchHeap) Len() int { return len(h) }
func (h batchHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(cmp.Compare(a.bytes, b.bytes), len(a.items)-len(b.items), a.index-b.index) < 0
}
func (h batchHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *batchHeap) Push(x any)   { *h = append(*h, x.(*batch)) }
func (h *batchHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
