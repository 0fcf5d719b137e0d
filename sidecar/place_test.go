package sidecar_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// change gives a node of the fleet other properties, from now on.
func (f *fleet) change(i int, how func(*bench)) {
	f.mu.Lock()
	how(f.nodes[i])
	f.mu.Unlock()
	f.nodes[i].restart()
}

// workers are the numbers of the nodes that made a job's attempts, sorted.
func (f *fleet) workers(j wire.Job) (list []int) {
	for i, b := range f.nodes {
		if slices.ContainsFunc(j.Attempts, func(a jobspec.Attempt) bool { return a.Node == b.key.ID().String() }) {
			list = append(list, i)
		}
	}
	return list
}

// A job goes only to nodes that can run it; who accepts it need not be one.
func TestOnlyTheFitWork(t *testing.T) {
	f := newFleet(t, 3)
	f.change(0, func(b *bench) { b.cap.CPU = 1000 })
	f.change(1, func(b *bench) { b.labels = map[string]string{"disk": "ssd", "region": "eu"} })
	root, files := f.dataset(2)
	for name, test := range map[string]struct {
		ask  func(*jobspec.Spec)
		want []int
	}{
		"cpu":    {func(s *jobspec.Spec) { s.Resources.CPU = 2000 }, []int{1, 2}},
		"label":  {func(s *jobspec.Spec) { s.Place.Require = map[string]string{"label.disk": "ssd"} }, []int{1}},
		"region": {func(s *jobspec.Spec) { s.Place.Require = map[string]string{"region": "eu"} }, []int{1}},
		"all":    {func(*jobspec.Spec) {}, []int{0, 1, 2}},
	} {
		s := perItem(root, files)
		s.Cache = jobspec.CacheOff
		test.ask(&s)
		j := f.nodes[0].final(f.nodes[0].submit(s))
		if j.State != jobspec.JobSucceeded || j.Result.String() != root {
			t.Errorf("%s: job is %s with %s: %+v", name, j.State, j.Result, j.Failure)
		}
		if diff := cmp.Diff(test.want, f.workers(j)); diff != "" {
			t.Errorf("%s: at work (-want +got):\n%s", name, diff)
		}
	}
}

// A strict job goes to members with a kernel for it only; without any it is
// refused with the reason and what to do. A node whose engine is given such a
// kernel need not be started anew.
func TestStrictJobs(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(2)
	s := perItem(root, files)
	s.Cache, s.Isolation = jobspec.CacheOff, jobspec.IsolationStrict
	_, _, err := f.nodes[0].Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	want := jobspec.Failure{Kind: jobspec.KindPolicy, Detail: "3 members: isolation: asks strict, has standard", Hint: "scripts/runsc.sh"}
	if got := jobspec.AsFailure(err); got.Kind != want.Kind || !strings.Contains(got.Detail, want.Detail) || !strings.Contains(got.Hint, want.Hint) {
		t.Errorf("a strict job without a kernel for it = %+v, want %+v", got, want)
	}
	f.nodes[1].state.SetStrict("runsc")
	f.nodes[1].restart()
	f.nodes[1].knowsStrict("runsc")
	j := f.nodes[0].final(f.nodes[0].submit(s))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Errorf("job is %s with %s: %+v", j.State, j.Result, j.Failure)
	}
	if diff := cmp.Diff([]int{1}, f.workers(j)); diff != "" {
		t.Errorf("at work (-want +got):\n%s", diff)
	}
	f.nodes[1].state.SetStrict("")
	f.nodes[1].restart()
	f.nodes[1].knowsStrict("")
	f.nodes[0].state.SetStrict("kata")
	j = f.nodes[0].final(f.nodes[0].submit(s))
	if diff := cmp.Diff([]int{0}, f.workers(j)); diff != "" || j.State != jobspec.JobSucceeded {
		t.Errorf("job is %s, at work (-want +got):\n%s", j.State, diff)
	}
}

// knowsStrict waits until the node has asked its engine.
func (b *bench) knowsStrict(want string) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); b.Strict() != want; <-tick.C {
		if time.Now().After(deadline) {
			b.t.Fatalf("strict jobs run by %q, want %q", b.Strict(), want)
		}
	}
}

// What nobody can ever run is refused at once, by submit and by plan, with
// every reason and how many it is about.
func TestNobodyFits(t *testing.T) {
	f := newFleet(t, 3)
	f.change(2, func(b *bench) { b.labels = map[string]string{"cloud": ""} })
	root, files := f.dataset(1)
	s := perItem(root, files)
	s.Resources.Memory, s.Resources.GPU = 64*jobspec.GiB, 1
	s.Place.Require = map[string]string{"label": "cloud"}
	want := "3 members: gpu: asks 1, has 0; 3 members: memory: asks 64GiB, has 4GiB; 2 members: label cloud: missing"
	_, _, err := f.nodes[0].Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
	_, perr := f.nodes[0].Plan(t.Context(), api.Submission{Tenant: "t", Spec: s})
	for what, err := range map[string]error{"submit": err, "plan": perr} {
		if fail := jobspec.AsFailure(err); err == nil || fail.Kind != jobspec.KindPolicy || !strings.Contains(fail.Detail, want) {
			t.Errorf("%s = %v, want E_POLICY: %s", what, err, want)
		}
	}
}

// The plan tells of each member what it holds, what it would get, and what
// speaks against it.
func TestPlanTellsOfAll(t *testing.T) {
	f := newFleet(t, 3)
	f.change(2, func(b *bench) { b.cap.Memory = 256 * jobspec.MiB })
	root, files := f.dataset(4) // of 13 and, from the eleventh on, 14 bytes
	p := f.nodes[0].planned(perItem(root, files))
	type row struct {
		Here         bool
		Local, Bytes int64
		Slots, Tasks int
		Against      string
	}
	got := map[string]row{}
	for _, n := range p.Nodes {
		i := slices.IndexFunc(f.nodes, func(b *bench) bool { return b.key.ID().String() == n.ID })
		got[fmt.Sprint(i)] = row{n.Here, n.Local, n.Bytes, n.Slots, n.Tasks, strings.Join(n.Against, "; ")}
	}
	each := func(i int) (sum int64) {
		for k := range 4 {
			sum += int64(len(fmt.Sprintf("content of %d\n", 3*k+i)))
		}
		return sum
	}
	for _, i := range []string{"0", "1"} {
		r := got[i]
		if r.Tasks == 0 || r.Slots != 2 || r.Against != "" || r.Local != each(int(i[0]-'0')) {
			t.Errorf("node %s: %+v", i, r)
		}
	}
	if sum := got["0"].Bytes + got["1"].Bytes; sum != each(0)+each(1)+each(2) {
		t.Errorf("two nodes get %d bytes, want all", sum)
	}
	want := row{Local: each(2), Against: "memory: asks 512MiB, has 256MiB"}
	if diff := cmp.Diff(want, got["2"]); diff != "" {
		t.Errorf("node 2 (-want +got):\n%s", diff)
	}
	if !p.Nodes[0].Here {
		t.Errorf("the first of %+v is not this node", p.Nodes)
	}
}

// With data: local a task runs only where all of its input is, and nowhere
// else when nobody has it.
func TestLocalOnly(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(2)
	s := perItem(root, files)
	s.Place.Require, s.Cache = map[string]string{"data": "local"}, jobspec.CacheOff
	owner := f.nodes[0]
	f.change(2, func(b *bench) { b.cap.CPU = 10 }) // it holds a third, and cannot run it
	j := owner.final(owner.submit(s))
	if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindPolicy || !strings.Contains(j.Failure.Detail, "2 of 6 files are held as a whole by no member") {
		t.Errorf("job is %s: %+v, want E_POLICY that counts the files", j.State, j.Failure)
	}
	f.change(2, func(b *bench) { b.cap.CPU = 2000 })
	j = owner.final(owner.submit(s))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root || len(f.workers(j)) != 3 {
		t.Errorf("each file is held by somebody; job is %s at %v: %+v", j.State, f.workers(j), j.Failure)
	}
}

// Of two that hold nothing, and with any, the one with less to do comes first.
func TestAnyBalances(t *testing.T) {
	f := newFleet(t, 2)
	source := f.nodes[0]
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("f%02d", i))
	}
	root := source.input(names...)
	files := map[string]jobspec.CID{}
	if err := tree.Walk(t.Context(), source.ipfs, cidOf(t, root), ipfs.Budget{}, func(e tree.Entry) error {
		if e.Kind == tree.File {
			files[e.Path] = e.CID
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s := perItem(root, files)
	tasks := func() (n []int) {
		for _, node := range source.planned(s).Nodes {
			n = append(n, int(node.Bytes))
		}
		return n
	}
	if got := tasks(); !slices.Equal(got, []int{36, 0}) {
		t.Errorf("by what is held, bytes are %v, want all at the holder", got)
	}
	s.Place.Prefer = jobspec.PreferAny
	if got := tasks(); !slices.Equal(got, []int{18, 18}) {
		t.Errorf("by load, bytes are %v, want halves", got)
	}
	if j := source.final(source.submit(s)); j.State != jobspec.JobSucceeded || len(f.workers(j)) != 2 {
		t.Errorf("job is %s at %v: %+v", j.State, f.workers(j), j.Failure)
	}
}

func cidOf(t *testing.T, text string) jobspec.CID {
	t.Helper()
	c, err := jobspec.ParseCID(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A task that waited long enough goes to a node that was kept for it, and not
// before.
func TestOverflow(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.change(0, func(b *bench) { b.labels = map[string]string{"home": ""}; b.backupAfter = 100 * time.Millisecond })
	f.change(1, func(b *bench) { b.labels = map[string]string{"cloud": ""} })
	owner := f.nodes[0]
	all := jobspec.Resources{CPU: 2000, Memory: jobspec.GiB, Disk: jobspec.GiB}
	busy := spec("DUMMY_SLEEP=1h")
	busy.Resources, busy.Place.Require = all, map[string]string{"label": "home"}
	first := owner.submit(busy)
	owner.until(first, jobspec.AttemptRunning)

	s := spec()
	s.Resources, s.Place.Overflow = all, jobspec.Overflow{To: "label=cloud", After: jobspec.Duration(time.Second)}
	j := owner.final(owner.submit(s))
	took := j.Finished.Sub(j.Submitted)
	if j.State != jobspec.JobSucceeded || !slices.Equal(f.workers(j), []int{1}) || took < time.Second {
		t.Errorf("job is %s at %v after %s: %+v, want succeeded at 1 after a second", j.State, f.workers(j), took, j.Failure)
	}
	if _, err := owner.Stop(t.Context(), "t", first); err != nil {
		t.Fatal(err)
	}
	owner.final(first)
	s.Cache, s.Place.Overflow.After = jobspec.CacheRefresh, jobspec.Duration(time.Hour)
	if j := owner.final(owner.submit(s)); j.State != jobspec.JobSucceeded || !slices.Equal(f.workers(j), []int{0}) {
		t.Errorf("with room at home the job is %s at %v: %+v", j.State, f.workers(j), j.Failure)
	}
	s.Resources.CPU = 1000
	f.change(0, func(b *bench) { b.cap.CPU = 500 }) // can never run it: nothing to wait for
	if j := owner.final(owner.submit(s)); j.State != jobspec.JobSucceeded || !slices.Equal(f.workers(j), []int{1}) {
		t.Errorf("where nobody else can, the job is %s at %v: %+v", j.State, f.workers(j), j.Failure)
	}
}
