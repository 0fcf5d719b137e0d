package jobspec_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/jobspec"
)

// rawCID is the CID of a file whose bytes are text.
func rawCID(text string) jobspec.CID {
	sum, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, sum))
}

func itemSpec() jobspec.Spec {
	return jobspec.Spec{
		Version: jobspec.Version,
		Run:     jobspec.Run{Image: "shell", Command: []string{"cat"}, Per: jobspec.PerItem},
		Inputs:  []jobspec.Input{{CID: someCID}},
	}
}

func factsOf(slots int, items ...jobspec.Item) jobspec.Facts {
	return jobspec.Facts{
		SpecCID: rawCID("spec"), Image: "sha256:00", Arch: "amd64", Input: rawCID("input"), Items: items, Slots: slots,
	}
}

func sizedItems(sizes ...int64) []jobspec.Item {
	items := make([]jobspec.Item, len(sizes))
	for i, size := range sizes {
		path := fmt.Sprintf("%06d", i)
		items[i] = jobspec.Item{Path: path, CID: rawCID(path), Size: size}
	}
	return items
}

func newPlan(t interface{ Fatal(...any) }, s jobspec.Spec, f jobspec.Facts) jobspec.Plan {
	p, err := jobspec.NewPlan(s, f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBatches(t *testing.T) {
	const limit = 256 << 20
	none := itemSpec()
	none.Split.By = jobspec.SplitNone
	three := itemSpec()
	three.Split.Into = 3
	many := make([]int64, 2500)
	oneBig := make([]int64, 2000)
	oneBig[7] = limit
	for _, tt := range []struct {
		name  string
		spec  jobspec.Spec
		slots int
		sizes []int64
		want  [][]int // positions of items; nil = compare counts only
		count []int   // items per task
	}{
		{"empty", itemSpec(), 4, nil, nil, []int{}},
		{"fewer items than slots", itemSpec(), 4, []int64{1, 2}, [][]int{{0}, {1}}, nil},
		{"longest first", itemSpec(), 2, []int64{3, 1, 1, 5, 2}, [][]int{{0, 2, 4}, {1, 3}}, nil},
		{"empty files are spread", itemSpec(), 2, []int64{0, 0, 0, 0}, [][]int{{0, 2}, {1, 3}}, nil},
		{"many bytes", itemSpec(), 1, []int64{limit, limit}, [][]int{{0}, {1}}, nil},
		{"just over", itemSpec(), 1, []int64{limit, 1}, [][]int{{0}, {1}}, nil},
		{"just fits", itemSpec(), 1, []int64{limit - 1, 1}, [][]int{{0, 1}}, nil},
		{"one large file", itemSpec(), 1, []int64{100 * limit}, [][]int{{0}}, nil},
		{"many items", itemSpec(), 1, many, nil, []int{834, 833, 833}},
		{"many items beside a large one", itemSpec(), 1, oneBig, nil, []int{1000, 1000}},
		{"as asked", three, 1, many, nil, []int{834, 833, 833}},
		{"as asked beside many slots", three, 8, []int64{3, 2, 1, 1}, [][]int{{0}, {1}, {2, 3}}, nil},
		{"more asked than there are", three, 1, []int64{1, 1}, [][]int{{0}, {1}}, nil},
		{"split none", none, 4, many, nil, []int{2500}},
		{"split none of empty", none, 4, nil, nil, []int{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			items := sizedItems(tt.sizes...)
			plan := newPlan(t, tt.spec, factsOf(tt.slots, items...))
			if tt.want != nil {
				var want, got [][]string
				for _, batch := range tt.want {
					want = append(want, nil)
					for _, i := range batch {
						want[len(want)-1] = append(want[len(want)-1], items[i].Path)
					}
				}
				for _, task := range plan.Tasks {
					got = append(got, paths(task.Items))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("batches (-want +got):\n%s", diff)
				}
				return
			}
			got := []int{}
			for _, task := range plan.Tasks {
				got = append(got, len(task.Items))
			}
			if diff := cmp.Diff(tt.count, got); diff != "" {
				t.Errorf("items per task (-want +got):\n%s", diff)
			}
		})
	}
}

func paths(items []jobspec.Item) []string {
	var list []string
	for _, it := range items {
		list = append(list, it.Path)
	}
	return list
}

func TestPlanPerTask(t *testing.T) {
	spec := itemSpec()
	spec.Run.Per = jobspec.PerTask
	facts := factsOf(8)
	facts.Bytes = 1 << 40
	plan := newPlan(t, spec, facts)
	if len(plan.Tasks) != 1 || plan.Tasks[0].Shard != facts.Input || plan.Tasks[0].Bytes != facts.Bytes || plan.Tasks[0].Items != nil {
		t.Errorf("Tasks = %+v, want one over the whole input", plan.Tasks)
	}
	facts.Input, facts.Bytes = jobspec.CID{}, 0
	spec.Inputs = nil
	if plan := newPlan(t, spec, facts); len(plan.Tasks) != 1 || plan.Tasks[0].Shard.Defined() {
		t.Errorf("Tasks without input = %+v, want one without a shard", plan.Tasks)
	}
}

// Batches change with the node; what is done and how it is called does not.
func TestItemsDoNotDependOnSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1<<29)), 0, 60).Draw(t, "sizes")
		items := sizedItems(sizes...)
		slots := rapid.IntRange(1, 70)
		a := newPlan(t, itemSpec(), factsOf(slots.Draw(t, "slots"), items...))
		b := newPlan(t, itemSpec(), factsOf(slots.Draw(t, "other slots"), items...))
		if diff := cmp.Diff(itemKeys(t, a), itemKeys(t, b)); diff != "" {
			t.Fatalf("items by slots (-one +other):\n%s", diff)
		}
		if got := itemKeys(t, a); len(got) != len(items) {
			t.Fatalf("%d of %d items are in tasks", len(got), len(items))
		}
		for i, task := range a.Tasks {
			var size int64
			for _, it := range task.Items {
				size += it.Size
			}
			sorted := slices.IsSorted(paths(task.Items))
			if task.Index != i || task.Bytes != size || len(task.Items) == 0 || !sorted {
				t.Fatalf("task %d: %+v is not in order", i, task)
			}
			if i > 0 && a.Tasks[i-1].Items[0].Path >= task.Items[0].Path {
				t.Fatalf("task %d stands before task %d", i-1, i)
			}
		}
	})
}

// itemKeys returns the items of all tasks by path, and fails when one stands
// in two tasks.
func itemKeys(t *rapid.T, p jobspec.Plan) map[string]string {
	keys := map[string]string{}
	for _, task := range p.Tasks {
		for _, it := range task.Items {
			if _, twice := keys[it.Path]; twice {
				t.Fatalf("item %s is in two tasks", it.Path)
			}
			keys[it.Path] = it.Key.String()
		}
	}
	return keys
}

// A change of what the program sees changes keys; any other change does not.
func TestKeysAreOfWhatTheProgramSees(t *testing.T) {
	type change func(*jobspec.Spec, *jobspec.Facts)
	same := map[string]change{
		"name":      func(s *jobspec.Spec, _ *jobspec.Facts) { s.Name = "x" },
		"labels":    func(s *jobspec.Spec, _ *jobspec.Facts) { s.Labels = map[string]string{"a": "b"} },
		"image tag": func(s *jobspec.Spec, _ *jobspec.Facts) { s.Run.Image = "other" },
		"input CID": func(s *jobspec.Spec, _ *jobspec.Facts) { s.Inputs[0].CID = "/ipfs/" + someCID },
		"resources": func(s *jobspec.Spec, _ *jobspec.Facts) { s.Resources = jobspec.Resources{CPU: 1, Memory: 2, Disk: 3} },
		"timeouts":  func(s *jobspec.Spec, _ *jobspec.Facts) { s.Timeouts = jobspec.Timeouts{Run: 1, Total: 2} },
		"retry":     func(s *jobspec.Spec, _ *jobspec.Facts) { s.Retry.Attempts, s.Retry.Items = 9, 9 },
		"merge":     func(s *jobspec.Spec, _ *jobspec.Facts) { s.Merge = jobspec.MergeShards },
		"cache":     func(s *jobspec.Spec, _ *jobspec.Facts) { s.Cache = jobspec.CacheOff },
		"keep":      func(s *jobspec.Spec, _ *jobspec.Facts) { s.Keep = 5 },
		"place": func(s *jobspec.Spec, _ *jobspec.Facts) {
			s.Place = jobspec.Place{Require: map[string]string{"arch": "amd64"}, Prefer: jobspec.PreferAny}
		},
		"spec CID":  func(_ *jobspec.Spec, f *jobspec.Facts) { f.SpecCID = rawCID("other") },
		"bytes":     func(_ *jobspec.Spec, f *jobspec.Facts) { f.Bytes = 77 },
		"replicate": func(s *jobspec.Spec, _ *jobspec.Facts) { s.Replicate = 5 },
		"outlets": func(s *jobspec.Spec, _ *jobspec.Facts) {
			s.Publish, s.Notify = []string{"file:///srv"}, []string{"exec:mail"}
		},
	}
	other := map[string]change{
		"image":   func(_ *jobspec.Spec, f *jobspec.Facts) { f.Image = "sha256:01" },
		"arch":    func(_ *jobspec.Spec, f *jobspec.Facts) { f.Arch = "arm64" },
		"command": func(s *jobspec.Spec, _ *jobspec.Facts) { s.Run.Command = []string{"cat", "-n"} },
		"env":     func(s *jobspec.Spec, _ *jobspec.Facts) { s.Run.Env = map[string]string{"A": "b"} },
		"code":    func(s *jobspec.Spec, _ *jobspec.Facts) { s.Run.Code = rawCID("code") },
		"feed":    func(s *jobspec.Spec, _ *jobspec.Facts) { s.Run.Feed = jobspec.FeedList },
		"file":    func(_ *jobspec.Spec, f *jobspec.Facts) { f.Items[0].CID = rawCID("other") },
		"path":    func(_ *jobspec.Spec, f *jobspec.Facts) { f.Items[0].Path = "000000x" },
		"network": func(s *jobspec.Spec, _ *jobspec.Facts) {
			s.Network, s.Cache = []string{"a.example:443"}, jobspec.CacheUse
		},
		"expose": func(s *jobspec.Spec, _ *jobspec.Facts) { s.Expose = []jobspec.Exposure{jobspec.ExposeNode} },
		"dependencies": func(s *jobspec.Spec, f *jobspec.Facts) {
			s.Run.Requirements, f.Dependencies = rawCID("requirements"), rawCID("dependencies")
		},
	}
	keysOf := func(per jobspec.Per, c change) (task, item string) {
		s, f := itemSpec(), factsOf(1, sizedItems(5)...)
		s.Run.Per = per
		c(&s, &f)
		if per == jobspec.PerTask {
			s.Run.Feed, f.Items = "", nil
		}
		p := newPlan(t, s, f)
		for _, it := range p.Tasks[0].Items {
			item = it.Key.String()
		}
		return p.Tasks[0].Key.String(), item
	}
	nothing := func(*jobspec.Spec, *jobspec.Facts) {}
	task, item := keysOf(jobspec.PerItem, nothing)
	whole, _ := keysOf(jobspec.PerTask, nothing)
	for name, c := range same {
		gotTask, gotItem := keysOf(jobspec.PerItem, c)
		if gotWhole, _ := keysOf(jobspec.PerTask, c); gotTask != task || gotItem != item || gotWhole != whole {
			t.Errorf("%s is in a key", name)
		}
	}
	for name, c := range other {
		gotTask, gotItem := keysOf(jobspec.PerItem, c)
		if gotTask == task || gotItem == item {
			t.Errorf("%s is in no key of items", name)
		}
		perItemOnly := name == "feed" || name == "file" || name == "path"
		if gotWhole, _ := keysOf(jobspec.PerTask, c); (gotWhole == whole) != perItemOnly {
			t.Errorf("%s: key of a whole task is equal: %v, want %v", name, gotWhole == whole, perItemOnly)
		}
	}
	asCAR := func(s *jobspec.Spec, _ *jobspec.Facts) { s.Inputs[0].As = jobspec.AsCAR }
	if gotWhole, _ := keysOf(jobspec.PerTask, asCAR); gotWhole == whole {
		t.Error("files or a CAR is in no key")
	}
	shard := func(_ *jobspec.Spec, f *jobspec.Facts) { f.Input = rawCID("other") }
	if gotWhole, _ := keysOf(jobspec.PerTask, shard); gotWhole == whole {
		t.Error("the shard is in no key")
	}
	if _, gotItem := keysOf(jobspec.PerItem, shard); gotItem != item {
		t.Error("an item's key depends on its neighbours")
	}
	goOn := func(s *jobspec.Spec, _ *jobspec.Facts) { s.Run.KeepGoing = true }
	if gotTask, gotItem := keysOf(jobspec.PerItem, goOn); gotTask == task || gotItem != item {
		t.Error("keep_going is to be in the key of a batch, and in no item's")
	}
}

func TestPlanRefusesWrongFacts(t *testing.T) {
	two := sizedItems(1, 2)
	for name, tt := range map[string]struct {
		change func(*jobspec.Facts)
		kind   jobspec.Kind
	}{
		"no image":    {func(f *jobspec.Facts) { f.Image = "" }, jobspec.KindInternal},
		"no slots":    {func(f *jobspec.Facts) { f.Slots = 0 }, jobspec.KindInternal},
		"no input":    {func(f *jobspec.Facts) { f.Input = jobspec.CID{} }, jobspec.KindInternal},
		"same path":   {func(f *jobspec.Facts) { f.Items[1].Path = f.Items[0].Path }, jobspec.KindDupName},
		"wrong order": {func(f *jobspec.Facts) { slices.Reverse(f.Items) }, jobspec.KindDupName},
		"no CID":      {func(f *jobspec.Facts) { f.Items[0].CID = jobspec.CID{} }, jobspec.KindInternal},
		"overflow":    {func(f *jobspec.Facts) { f.Items[0].Size = math.MaxInt64 }, jobspec.KindLimitBytes},
		"negative":    {func(f *jobspec.Facts) { f.Items[0].Size = -1 }, jobspec.KindInternal},
	} {
		facts := factsOf(1, slices.Clone(two)...)
		tt.change(&facts)
		if _, err := jobspec.NewPlan(itemSpec(), facts); !errors.Is(err, tt.kind.Error()) {
			t.Errorf("%s: NewPlan error = %v, want %s", name, err, tt.kind)
		}
	}
}

func BenchmarkNewPlan(b *testing.B) {
	sizes := make([]int64, 100_000)
	for i := range sizes {
		sizes[i] = int64(i % 1000 * 1000)
	}
	facts := factsOf(4, sizedItems(sizes...)...)
	for b.Loop() {
		newPlan(b, itemSpec(), facts)
	}
}
