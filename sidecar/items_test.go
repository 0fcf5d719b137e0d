package sidecar_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// items returns how all items of a job ended, read in pieces.
func (b *bench) items(ref string) (list []wire.Item) {
	b.t.Helper()
	enough := fmt.Errorf("enough")
	for {
		after, n := api.ItemPlace{}, len(list)
		var err error
		if n > 0 {
			if after, err = api.ParseItemPlace(list[n-1].At); err != nil {
				b.t.Fatal(err)
			}
		}
		err = b.Items(b.t.Context(), "t", ref, after, func(it wire.Item) error {
			if list = append(list, it); len(list) == n+4 {
				return enough
			}
			return nil
		})
		if err != nil && err != enough {
			b.t.Fatal(err)
		}
		if err == nil {
			return list
		}
	}
}

// Whoever ran them, the owner has the end of each item, and each is in one
// task.
func TestItemsReachTheOwner(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(5)
	paths := slices.Sorted(maps.Keys(files))
	s := perItem(root, files)
	bad := paths[7]
	var report strings.Builder
	for _, path := range paths {
		if path == bad {
			fmt.Fprintf(&report, `{"type":"retry","path":%q,"error":"exit code 9","exit_code":9}`+"\n", path)
			fmt.Fprintf(&report, `{"type":"item","path":%q,"error":"exit code 7","exit_code":7,"tries":2,"stderr":"oops\n","stderr_cut":5}`+"\n", path)
			continue
		}
		fmt.Fprintf(&report, `{"type":"item","path":%q,"outputs":[%q]}`+"\n", path, path)
	}
	s.Run.Env["DUMMY_WRITE_REPORT"] = "/ipdc/report/report.jsonl:" + report.String()
	s.Run.KeepGoing, s.Split.Into, s.Retry.Items = true, 4, 1

	owner := f.nodes[0]
	id := owner.submit(s)
	j := owner.final(id)
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job %s: %+v", j.State, j.Failure)
	}
	seen, tasks, failed := map[string]wire.Item{}, map[int]bool{}, 0
	for _, it := range owner.items(id) {
		if _, twice := seen[it.Path]; twice {
			t.Errorf("item %s is in the record twice", it.Path)
		}
		seen[it.Path], tasks[it.Task] = it, true
	}
	elsewhere := false
	for _, a := range j.Attempts {
		failed += a.ItemsFailed
		elsewhere = elsewhere || a.Node != owner.key.ID().String()
	}
	if !elsewhere || len(tasks) != 4 || failed != 1 {
		t.Errorf("%d tasks, some elsewhere: %v, %d items failed; want 4, true, 1", len(tasks), elsewhere, failed)
	}
	if d := cmp.Diff(paths, slices.Sorted(maps.Keys(seen))); d != "" {
		t.Errorf("items (-want +got):\n%s", d)
	}
	for _, b := range f.nodes { // the record is held by the owner alone, and is no garbage there
		if _, err := b.ipfs.GC(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	for _, b := range f.nodes[1:] {
		f.away[b] = true
	}
	f.mu.Unlock()
	if got := len(owner.items(id)); got != len(paths) {
		t.Errorf("after a collection of garbage the record has %d items, want %d", got, len(paths))
	}
	want := jobspec.ItemEnd{Path: bad, State: jobspec.ItemFailed, ExitCode: 7, Error: "exit code 7", Stderr: "oops\n", StderrCut: 5, Tries: 2, Task: seen[bad].Task}
	if d := cmp.Diff(want, seen[bad].ItemEnd); d != "" {
		t.Errorf("the item that failed (-want +got):\n%s", d)
	}
	if it := seen[paths[0]]; it.State != jobspec.ItemDone || it.Tries != 1 || !slices.Equal(it.Outputs, []string{paths[0]}) {
		t.Errorf("an item that is done: %+v", it)
	}
}

// What an earlier job has done stands in the record of a later one.
func TestRememberedItems(t *testing.T) {
	b := newBench(t)
	root := b.input("a", "b", "c")
	files := func(names ...string) jobspec.Spec {
		m := map[string]jobspec.CID{}
		for _, n := range names {
			m[n] = jobspec.CID{}
		}
		s := perItem(root, m)
		s.Run.KeepGoing = true
		return s
	}
	s := files("a", "b", "c")
	first := strings.Replace(s.Run.Env["DUMMY_WRITE_REPORT"], `"b","outputs":["b"]`, `"b","error":"exit code 1","exit_code":1`, 1)
	s.Run.Env["DUMMY_WRITE_REPORT"], s.Run.Env["DUMMY_COPY"] = first, "/inputs/a:/outputs/a"
	s.Run.Env["DUMMY_COPY2"] = "/inputs/c:/outputs/c"
	id := b.submit(s)
	if j := b.final(id); j.State != jobspec.JobSucceeded {
		t.Fatalf("job %s: %+v", j.State, j.Failure)
	}
	again := b.submit(s)
	b.final(again)
	b.swept()
	if _, err := b.ipfs.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := b.items(again)
	if got, want := states(list), "a remembered, c remembered, b failed"; got != want {
		t.Fatalf("items = %s, want %s", got, want)
	}
	if it := list[0]; it.Job.String() != id || !slices.Equal(it.Outputs, []string{"a"}) {
		t.Errorf("a remembered item: %+v, want the outputs that job %s made", it, id)
	}
}

// Items that the program did not come to are in the record, too, and as failed if it
// would have tried them again.
func TestItemsThatWereNotRun(t *testing.T) {
	b := newBench(t)
	root := b.input("a", "b", "c")
	s := spec("DUMMY_COPY=/inputs/a:/outputs/a", `DUMMY_WRITE_REPORT=/ipdc/report/report.jsonl:{"type":"item","path":"a","outputs":["a"]}`+"\n"+`{"type":"retry","path":"b","error":"exit code 3","exit_code":3}`+"\n", "DUMMY_EXIT=5")
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedList
	s.Inputs, s.Split.By = []jobspec.Input{{CID: root}}, jobspec.SplitNone
	id := b.submit(s)
	b.final(id)
	if got, want := states(b.items(id)), "a done, b failed, c skipped"; got != want {
		t.Errorf("items = %s, want %s", got, want)
	}
}

func states(list []wire.Item) string {
	var text []string
	for _, it := range list {
		text = append(text, it.Path+" "+string(it.State))
	}
	return strings.Join(text, ", ")
}
