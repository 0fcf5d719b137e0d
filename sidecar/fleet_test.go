package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/executor/dummy"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
)

// fleet is several sidecars that talk over a bus in memory and fetch each
// other's blocks.
type fleet struct {
	t     *testing.T
	net   *memory.Network
	mu    sync.Mutex
	nodes []*bench
	moved map[jobspec.CID]int // raw blocks that went from one node to another

	streams map[identity.ID]bus.Streams
	labels  map[identity.ID]map[string]string
}

// everybody lets any key in.
type everybody struct{}

func (everybody) Check(identity.ID, []byte, time.Time) error { return nil }

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, net: memory.New(memory.Config{}), moved: map[jobspec.CID]int{}, streams: map[identity.ID]bus.Streams{}}
	for range n {
		b := newBench(t, func(c *embedded.Config) { c.Fetcher = f })
		f.mu.Lock()
		f.nodes = append(f.nodes, b)
		f.mu.Unlock()
	}
	for _, b := range f.nodes {
		b.crew = f
		b.restart()
	}
	return f
}

// join gives a sidecar its post, which runs until the function it returns is
// called.
func (f *fleet) join(key identity.Key, log *slog.Logger) (*bus.Post, func()) {
	f.t.Helper()
	m, err := f.net.Join(key.ID())
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.streams[key.ID()] = m
	f.mu.Unlock()
	p, err := bus.NewPost(m, bus.Config{
		Domain: bus.DomainID(strings.Repeat("a", 26)), Key: key, Roster: everybody{}, Logger: log,
		Certificate: func() []byte { return nil }, Resend: 100 * time.Millisecond,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return p, func() { m.Close() }
}

// Live implements sidecar.Crew.
func (f *fleet) Live() (list []sidecar.Peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.nodes {
		list = append(list, sidecar.Peer{
			ID: b.key.ID(), Arch: runtime.GOARCH, Capacity: jobspec.Resources(b.cap), Free: jobspec.Resources(b.cap), Labels: f.labels[b.key.ID()],
		})
	}
	return list
}

// Block implements embedded.Fetcher.
func (f *fleet) Block(ctx context.Context, c jobspec.CID) ([]byte, error) {
	f.mu.Lock()
	nodes := f.nodes
	f.mu.Unlock()
	for _, b := range nodes {
		if ok, err := b.ipfs.Has(ctx, c); err == nil && ok {
			if c.Cid().Type() == cid.Raw {
				f.mu.Lock()
				f.moved[c]++
				f.mu.Unlock()
			}
			return b.ipfs.Get(ctx, c)
		}
	}
	return nil, jobspec.KindFetchTimeout.Errorf("nobody has %s", c)
}

// DAG implements embedded.Fetcher.
func (f *fleet) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	for _, root := range roots {
		data, err := f.Block(ctx, root)
		if err != nil {
			return err
		}
		if err := put(root, data); err != nil {
			return err
		}
		if root.Cid().Type() == cid.Raw {
			continue
		}
		links, err := tree.Links(ctx, f, root, ipfs.Budget{})
		if err != nil {
			return err
		}
		below := make([]jobspec.CID, len(links))
		for i, l := range links {
			below[i] = l.CID
		}
		if err := f.DAG(ctx, below, put); err != nil {
			return err
		}
	}
	return nil
}

// Get makes a fleet an ipfs.Getter for its own DAG.
func (f *fleet) Get(ctx context.Context, c jobspec.CID) ([]byte, error) { return f.Block(ctx, c) }

// dataset puts some files on each node and their directories on all, and
// returns the root of all.
func (f *fleet) dataset(perNode int) (root string, files map[string]jobspec.CID) {
	f.t.Helper()
	ctx := f.t.Context()
	dir, files := f.t.TempDir(), map[string]jobspec.CID{}
	for i := range perNode * len(f.nodes) {
		path := filepath.Join(dir, fmt.Sprintf("%d/%03d.txt", i%len(f.nodes), i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(fmt.Sprintf("content of %d\n", i)), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	source, err := embedded.Open(ctx, embedded.Config{Dir: filepath.Join(f.t.TempDir(), "source")})
	if err != nil {
		f.t.Fatal(err)
	}
	defer source.Close()
	c, err := source.Add(ctx, "all", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(ctx, s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for i, b := range f.nodes {
		_, err := b.ipfs.Add(ctx, "user/part", func(s ipfs.Session) (jobspec.CID, error) {
			part, err := tree.Resolve(ctx, source, c, []string{fmt.Sprint(i)})
			if err != nil {
				return c, err
			}
			for _, d := range []jobspec.CID{c, part} { // the root's block is garbage here, and stays until a collection
				data, err := source.Get(ctx, d)
				if err != nil {
					return c, err
				}
				if err := s.Put(ctx, d, data); err != nil {
					return c, err
				}
			}
			return part, tree.Walk(ctx, source, part, ipfs.Budget{}, func(e tree.Entry) error {
				if e.Kind != tree.File {
					return nil
				}
				files[fmt.Sprintf("%d/%s", i, e.Path)] = e.CID
				data, err := source.Get(ctx, e.CID)
				if err != nil {
					return err
				}
				return s.Put(ctx, e.CID, data)
			})
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return c.String(), files
}

// perItem is a job whose container copies each file.
func perItem(root string, files map[string]jobspec.CID) jobspec.Spec {
	var report strings.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&report, "{\"type\":\"item\",\"path\":%q,\"outputs\":[%q]}\n", path, path)
	}
	s := spec("DUMMY_COPY=/inputs:/outputs", "DUMMY_STDOUT=hello", "DUMMY_WRITE_REPORT=/ipdc/report/report.jsonl:"+report.String())
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedStdin
	s.Inputs = []jobspec.Input{{CID: root}}
	return s
}

// Each part of a dataset is processed where it lies, and the result is one.
func TestTasksGoWhereTheDataLies(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(4)
	owner := f.nodes[0]
	j := owner.final(owner.submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	if j.Result.String() != root {
		t.Errorf("result = %s, want the copied dataset %s", j.Result, root)
	}
	got := map[string]bool{}
	for _, a := range j.Attempts {
		got[a.Node] = true
		if a.Receipt == nil || a.Receipt.Worker != a.Node || jobspec.VerifyReceipt(*a.Receipt) != nil {
			t.Errorf("attempt %s of %s has receipt %+v", a.ID, a.Node, a.Receipt)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d nodes worked, want 3", len(got))
	}
	in := 0
	for _, c := range files {
		in += f.moved[c]
	}
	// The copies are the same blocks: the owner fetches each output once.
	if want := 8; in != want {
		t.Errorf("%d blocks of content moved, want %d: the outputs of the two others", in, want)
	}
	if diff := cmp.Diff(len(files), j.ItemsDone); diff != "" {
		t.Errorf("items done (-want +got):\n%s", diff)
	}
}

// slow is perItem whose containers run until the test lets them, or for long.
func slow(root string, files map[string]jobspec.CID, d time.Duration) jobspec.Spec {
	s := perItem(root, files)
	s.Run.Env["DUMMY_SLEEP"] = d.String()
	return s
}

// early are the states of an attempt whose program has not begun.
var early = []jobspec.AttemptState{jobspec.AttemptLeased, jobspec.AttemptStaged, jobspec.AttemptImage, jobspec.AttemptCreated}

// untilAway waits until so many tasks run at other nodes, or have run.
func (f *fleet) untilAway(want int) {
	f.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		running := 0
		for _, b := range f.nodes[1:] {
			list, err := b.Jobs(f.t.Context(), "*", api.JobFilter{All: true})
			if err != nil {
				f.t.Fatal(err)
			}
			for _, j := range list {
				full, err := b.Job(f.t.Context(), j.Tenant, j.ID.String())
				if err == nil && len(full.Attempts) > 0 && !slices.Contains(early, full.Attempts[0].State) {
					running++
				}
			}
		}
		if running >= want {
			return
		}
	}
	f.t.Fatalf("never did %d tasks run at other nodes", want)
}

func (f *fleet) ids(i int) []identity.ID { return []identity.ID{f.nodes[i].key.ID()} }

// Whatever happens to the nodes on the way, the result is the one that a node
// alone would give.
func TestFleetSurvives(t *testing.T) {
	for name, happens := range map[string]func(f *fleet){
		"nothing":           func(*fleet) {},
		"owner restarts":    func(f *fleet) { f.nodes[0].restart() },
		"worker restarts":   func(f *fleet) { f.nodes[1].restart() },
		"worker is gone":    func(f *fleet) { f.nodes[1].stop() },
		"worker is cut off": func(f *fleet) { f.net.Partition(f.ids(2)) },
		"cut off for a moment": func(f *fleet) {
			f.net.Partition(f.ids(1))
			f.net.Heal()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			f.lease(2 * time.Second)
			root, files := f.dataset(2)
			owner := f.nodes[0]
			id := owner.submit(slow(root, files, time.Second))
			f.untilAway(2)
			happens(f)
			j := owner.final(id)
			if j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
			}
			if j.ItemsDone != len(files) {
				t.Errorf("%d of %d items done", j.ItemsDone, len(files))
			}
		})
	}
}

// lease sets how long workers may be silent, from now on.
func (f *fleet) lease(d time.Duration) {
	for _, b := range f.nodes {
		b.lease = d
		b.restart()
	}
}

// A job that is stopped leaves nothing running anywhere.
func TestStopReachesWorkers(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(2)
	owner := f.nodes[0]
	id := owner.submit(slow(root, files, time.Hour))
	f.untilAway(2)
	if _, err := owner.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	if j := owner.final(id); j.State != jobspec.JobStopped {
		t.Errorf("job is %s, want stopped", j.State)
	}
	for _, b := range f.nodes[1:] {
		b.idle()
	}
}

// idle waits until no container of a node runs.
func (b *bench) idle() {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		if list, err := dummy.New(b.state).List(b.t.Context(), ""); err == nil && len(list) == 0 {
			return
		}
	}
	b.t.Error("containers go on after the stop")
}

// Messages that are lost, doubled and late change nothing.
func TestFleetOverABadBus(t *testing.T) {
	f := newFleet(t, 3)
	f.net = memory.New(memory.Config{Faults: memory.Noise(1, 0.3, 0.3, 50*time.Millisecond)})
	f.lease(10 * time.Second)
	root, files := f.dataset(2)
	j := f.nodes[0].final(f.nodes[0].submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Errorf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
}

// A program that fails on another node fails the job as one that fails here,
// with its log.
func TestFailureElsewhere(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(1)
	s := perItem(root, files)
	s.Run.Env["DUMMY_EXIT"] = "19"
	s.Inputs[0].CID += "/1" // all of it is the second node's
	owner := f.nodes[0]
	id := owner.submit(s)
	j := owner.final(id)
	if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindExit || j.Failure.ExitCode != 19 {
		t.Fatalf("job is %s: %+v, want failed with exit code 19", j.State, j.Failure)
	}
	if a := j.Attempts[0]; a.Node != f.nodes[1].key.ID().String() || a.Receipt == nil || a.Receipt.Kind != jobspec.KindExit {
		t.Errorf("attempt = %+v, want one of the second node with a receipt", a)
	}
	if len(j.Attempts) != 1 {
		t.Errorf("%d attempts, want 1: exit is not retried", len(j.Attempts))
	}
}

// A node that does not take a task is no obstacle.
func TestWorkerRefuses(t *testing.T) {
	f := newFleet(t, 2)
	f.nodes[1].admit = func(context.Context) error { return jobspec.KindLimit.Errorf("no room") }
	f.nodes[1].restart()
	root, files := f.dataset(2)
	j := f.nodes[0].final(f.nodes[0].submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	for _, a := range j.Attempts {
		if a.Node != f.nodes[0].key.ID().String() {
			t.Errorf("attempt %s is of %s, want of the owner", a.ID, a.Node)
		}
	}
}

// carried is an image store that can write its one image, and has it only once
// it was loaded.
type carried struct {
	fixedImages
	mu     sync.Mutex
	loaded string
}

const archive = "an archive of the image"

func (c *carried) Save(_ context.Context, _ jobspec.ImageID, w io.Writer) error {
	_, err := io.WriteString(w, archive)
	return err
}

func (c *carried) Load(ctx context.Context, r io.Reader, _ string) (jobspec.ImageID, error) {
	b, err := io.ReadAll(r)
	c.mu.Lock()
	c.loaded = string(b)
	c.mu.Unlock()
	return imageID, err
}

func (c *carried) Resolve(ctx context.Context, ref string) (images.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != archive {
		return images.Image{}, jobspec.KindImageRef.Errorf("no image %s", ref)
	}
	return c.fixedImages.Resolve(ctx, ref)
}

// A member that lacks the image gets it from the owner, by CID.
func TestImageTravels(t *testing.T) {
	f := newFleet(t, 2)
	there := &carried{}
	f.nodes[0].imgs = &carried{loaded: archive}
	f.nodes[1].imgs = there
	f.nodes[0].restart()
	f.nodes[1].restart()
	root, files := f.dataset(2)
	j := f.nodes[0].final(f.nodes[0].submit(perItem(root, files)))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
	if there.loaded != archive {
		t.Errorf("the other node loaded %q, want the owner's archive", there.loaded)
	}
	workers := map[string]bool{}
	for _, a := range j.Attempts {
		workers[a.Node] = true
	}
	if len(workers) != 2 {
		t.Errorf("%d nodes worked, want 2", len(workers))
	}
}

// A plan says where each task would go.
func TestPlanNamesHolders(t *testing.T) {
	f := newFleet(t, 3)
	root, files := f.dataset(2)
	p := f.nodes[0].planned(perItem(root, files))
	holders := map[string]bool{}
	for _, task := range p.Tasks {
		holders[task.Holder] = true
	}
	want := map[string]bool{"": true, f.nodes[1].key.ID().String(): true, f.nodes[2].key.ID().String(): true}
	if diff := cmp.Diff(want, holders); diff != "" {
		t.Errorf("holders (-want +got):\n%s\nreasons: %q", diff, p.Reasons)
	}
}
