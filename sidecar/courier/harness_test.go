package courier_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/delivery/dir"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/courier"
	"github.com/ipdc/ipdc/store"
)

// world is a courier with what it works on.
type world struct {
	t       *testing.T
	dir     string
	store   *store.Store
	ipfs    ipfs.Node
	outlets *outlets
	clock   clock
	pauses  chan time.Duration // that Run was about to wait
	over    chan time.Time     // ends a pause
}

// clock stands still unless it is moved.
type clock struct{ past atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(c.past.Load()))
}

func (c *clock) add(d time.Duration) time.Time {
	c.past.Add(int64(d))
	return c.now()
}

// outlets permits everything below /srv, with a store that fails at will.
type outlets struct {
	mu       sync.Mutex
	top      string
	failures int // of the next puts
	puts     []string
	told     []delivery.Message
	refuse   bool
}

func (o *outlets) Store(_ courier.Who, to jobspec.Outlet) (delivery.Store, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse {
		return nil, jobspec.KindPolicy.Errorf("%s is not permitted", to)
	}
	return &flaky{o, dir.New(o.top, "")}, nil
}

// seen returns what was put and told so far.
func (o *outlets) seen() (puts []string, told []delivery.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.puts), slices.Clone(o.told)
}

func (o *outlets) Receiver(courier.Who, jobspec.Outlet) (delivery.Receiver, error) {
	return (*receiver)(o), nil
}

type flaky struct {
	*outlets
	delivery.Store
}

func (f *flaky) Put(ctx context.Context, path string, file delivery.File) error {
	f.mu.Lock()
	fail := f.failures > 0 && len(f.puts) >= 3
	if f.puts = append(f.puts, path); fail {
		f.failures--
	}
	f.mu.Unlock()
	if fail {
		return errors.New("the server is not well")
	}
	return f.Store.Put(ctx, path, file)
}

type receiver outlets

func (r *receiver) Tell(_ context.Context, m delivery.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, m)
	return nil
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, dir: t.TempDir(), outlets: &outlets{top: t.TempDir()}, pauses: make(chan time.Duration), over: make(chan time.Time, 1),
	}
	var err error
	if w.store, err = store.Open(t.Context(), filepath.Join(w.dir, "state.db"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if w.ipfs, err = embedded.Open(t.Context(), embedded.Config{Dir: filepath.Join(w.dir, "ipfs")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.ipfs.Close(), w.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// ended stores a job that has ended with these files.
func (w *world) ended(files map[string]string, spec jobspec.Spec) jobspec.Job {
	w.t.Helper()
	src := w.t.TempDir()
	for name, text := range files {
		file := filepath.Join(src, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(src, "link")); err != nil {
		w.t.Fatal(err)
	}
	job := jobspec.Job{ID: jobspec.NewJobID(w.clock.now()), Tenant: "t", Spec: spec, State: jobspec.JobSucceeded, Submitted: w.clock.now(), Finished: w.clock.now()}
	var err error
	job.Result, err = w.ipfs.Add(w.t.Context(), "job/x/result", func(s ipfs.Session) (jobspec.CID, error) {
		res, err := pack.Tree(w.t.Context(), s, src, pack.Options{})
		return res.CID, err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.update(func(tx *store.Tx) error {
		err := tx.PutJob(job)
		for n, d := range job.Deliveries() {
			err = errors.Join(err, tx.PutDelivery(job.ID, n, d))
		}
		return err
	})
	return job
}

func (w *world) update(f func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deliveries(id jobspec.JobID) (list []jobspec.Delivery) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx *store.Tx) (err error) {
		list, err = tx.Deliveries(id)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// run runs a courier until stop, its clock in w.clock. Each pause that it is
// about to make is in w.pauses; pass ends it when it is over.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	c := courier.New(courier.Config{
		Store: w.store, IPFS: w.ipfs, Outlets: w.outlets, Dir: w.dir, Node: "12D3node", Logger: slog.New(slog.DiscardHandler),
		Now: w.clock.now, Pause: time.Second,
		After: func(d time.Duration) <-chan time.Time {
			select {
			case w.pauses <- d:
			case <-ctx.Done():
			}
			return w.over
		},
	})
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			w.t.Errorf("Run = %v", err)
		}
	})
	return func() { cancel(); running.Wait() }
}

// until lets time pass until the deliveries of a job are as want says.
func (w *world) until(id jobspec.JobID, want func([]jobspec.Delivery) bool) []jobspec.Delivery {
	w.t.Helper()
	for late := time.After(time.Minute); ; {
		select {
		case pause := <-w.pauses:
			list := w.deliveries(id)
			if want(list) {
				return list
			}
			if slices.ContainsFunc(list, waits) {
				w.end(w.clock.add(pause))
			}
		case <-late:
			w.t.Fatalf("deliveries = %+v", w.deliveries(id))
		}
	}
}

// end ends a pause. Run may have left it by then; the next one is short then,
// which does no harm.
func (w *world) end(at time.Time) {
	select {
	case w.over <- at:
	default:
	}
}

func waits(d jobspec.Delivery) bool { return d.State == jobspec.DeliveryWaiting }

func all(state jobspec.DeliveryState) func([]jobspec.Delivery) bool {
	return func(list []jobspec.Delivery) bool {
		return !slices.ContainsFunc(list, func(d jobspec.Delivery) bool { return d.State != state })
	}
}

// landed reads what is at the place; sha256sum checks it.
func (w *world) landed() map[string]string {
	w.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(w.outlets.top, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			b, rerr := os.ReadFile(path)
			rel, _ := filepath.Rel(w.outlets.top, path)
			files[rel], err = string(b), rerr
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	cmd.Dir = w.outlets.top
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Errorf("sha256sum: %v\n%s", err, out)
	}
	delete(files, "SHA256SUMS")
	return files
}
