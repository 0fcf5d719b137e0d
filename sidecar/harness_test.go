package sidecar_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/dummy"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/attach"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/proxy"
	"github.com/ipdc/ipdc/sidecar/volume"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// bench is a sidecar whose containers are scripted; all else is real. Its
// parts outlive the sidecar, as a disk and an engine do.
type bench struct {
	t        *testing.T
	dir      string
	state    *dummy.State
	key      identity.Key
	store    *store.Store
	ipfs     ipfs.Node
	cap      wire.Capacity
	labels   map[string]string // of the next start
	network  proxy.Config
	admit    func(context.Context) error
	budget   ipfs.Budget
	fetches  bool // ipfs has a fetcher
	imgs     images.Store
	attached *attach.Set                               // of the next start; nil = none
	wrap     func(executor.Executor) executor.Executor // put around the next start's executor; nil = none
	ahead    time.Duration                             // of the next start's clock
	later    atomic.Int64                              // of the present clock, besides
	ipns     sidecar.Names                             // nil = none
	uptime   func() time.Duration                      // likewise; nil = the machine's
	ticks    bool                                      // the next start's clock goes on by a millisecond with each look at it
	running  atomic.Pointer[sidecar.Sidecar]           // for others
	room     func(context.Context, int64) error        // of the next start
	begins   func()                                    // likewise: called when it has begun, before it looks what was left; nil = nothing
	twin     func() error                              // likewise
	busy     func(jobspec.Bytes) string                // likewise; nil = never
	used     func() string                             // likewise

	staged     *inputcache.Cache // of the present start
	cacheBytes int64             // bound of each of its caches, from the next start on; 0 = 1 GiB

	patience   time.Duration // of the next start
	sweepEvery time.Duration // likewise
	auditEvery time.Duration // likewise

	crew  mates         // other members, from the next start on
	lease time.Duration // of what is given to them

	backupAfter time.Duration // of the next start
	arrive      time.Duration // likewise

	registry *prometheus.Registry // of the present start
	limits   sidecar.Limits       // of the next start

	data *dataset.Keeper // of the present start

	*sidecar.Sidecar
	stop        func()
	asks        func(sidecar.Record) sidecar.Record // what the node asks keepers by; nil = as it is
	closeRecord func()                              // of the present start
}

// mates are other members and the bus to them.
type mates interface {
	sidecar.Crew
	join(identity.Key, *slog.Logger) (_ *bus.Post, leave func())
}

const imageID = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

// fixedImages has one image under every name but "missing".
type fixedImages struct{ images.Store }

func (fixedImages) Resolve(_ context.Context, ref string) (images.Image, error) {
	if ref == "missing" {
		return images.Image{}, jobspec.KindImageRef.Errorf("no image %s", ref)
	}
	return images.Image{ID: imageID, Ref: ref, Arch: runtime.GOARCH}, nil
}

func (f fixedImages) Pull(ctx context.Context, ref string, _ images.Progress) (images.Image, error) {
	return f.Resolve(ctx, ref)
}

// newBench starts a sidecar; configure may change its block store.
func newBench(t *testing.T, configure ...func(*embedded.Config)) *bench {
	return newBenchWith(t, fixedImages{}, configure...)
}

func newBenchWith(t *testing.T, imgs images.Store, configure ...func(*embedded.Config)) *bench {
	t.Helper()
	b := &bench{
		t: t, imgs: imgs, dir: t.TempDir(), state: dummy.NewState(imageID),
		cap: wire.Capacity{CPU: 2000, Memory: 4 * jobspec.GiB, Disk: 16 * jobspec.GiB},
	}
	var err error
	if b.key, err = identity.Generate(); err != nil {
		t.Fatal(err)
	}
	if b.store, err = store.Open(t.Context(), filepath.Join(b.dir, "state.db"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	cfg := embedded.Config{Dir: filepath.Join(b.dir, "ipfs")}
	for _, f := range configure {
		f(&cfg)
	}
	b.fetches = cfg.Fetcher != nil
	if b.ipfs, err = embedded.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.stop()
		b.state.Close()
		if err := errors.Join(b.ipfs.Close(), b.store.Close()); err != nil {
			t.Error(err)
		}
		if bad := b.state.Misuse(); len(bad) > 0 {
			t.Errorf("the executor's contract was broken: %q", bad)
		}
	})
	b.start()
	return b
}

func (b *bench) start() {
	b.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("IPDC_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	vols, err := volume.Open(b.t.Context(), volume.Config{Dir: filepath.Join(b.dir, "volumes"), Method: volume.MethodWatchdog, Logger: log})
	if err != nil {
		b.t.Fatal(err)
	}
	inputs := b.inputs("inputs", log, func(ctx context.Context, c jobspec.CID, dest string) (int64, error) {
		st, err := stage.Dir(ctx, b.ipfs, c, dest, stage.Options{})
		return st.Bytes, err
	})
	b.staged = inputs
	cars := b.inputs("cars", log, func(ctx context.Context, c jobspec.CID, dest string) (int64, error) {
		return stage.CAR(ctx, b.ipfs, c, filepath.Join(dest, inputcache.CAR), ipfs.Budget{})
	})
	guest := filepath.Join(b.dir, "guest")
	if err := os.WriteFile(guest, nil, 0o755); err != nil {
		b.t.Fatal(err)
	}
	var ex executor.Executor = dummy.New(b.state)
	if b.wrap != nil {
		ex = b.wrap(ex)
	}
	ahead, tick := b.ahead, int64(0)
	if b.ticks {
		tick = int64(time.Millisecond)
	}
	b.registry = prometheus.NewRegistry()
	var post *bus.Post
	var streams bus.Streams
	var crew sidecar.Crew
	var record sidecar.Record
	b.closeRecord = func() {}
	leave, tend := func() {}, func(context.Context) error { return nil }
	if b.crew != nil {
		post, leave = b.crew.join(b.key, log)
		crew = b.crew
		if f, ok := b.crew.(*fleet); ok && f.recorded {
			q := f.keepers(b, post, log)
			record, tend = q, q.Run
			if b.asks != nil {
				record = b.asks(q)
			}
		}
		if f, ok := b.crew.(*fleet); ok {
			streams = f.streamsOf(b.key.ID())
		}
	}
	var gather func(context.Context) bool
	if crew != nil {
		gather = crew.Gather
	}
	b.data = dataset.New(dataset.Config{
		Gather: gather,
		Key:    b.key, Domain: "d", Shared: "t", Store: b.store, IPFS: b.ipfs, Post: post, Logger: log,
		Live: func() (ids []identity.ID) {
			for _, p := range crew.Live() {
				if p.ID != b.key.ID() {
					ids = append(ids, p.ID)
				}
			}
			return ids
		},
	})
	if b.begins != nil {
		streams = beginning{streams, b.begins}
	}
	cfg := sidecar.Config{
		Streams: streams, Datasets: b.data, Names: b.ipns, Post: post, Crew: crew, Record: record, Lease: b.lease, BackupAfter: b.backupAfter, Arrive: b.arrive,
		Registry: b.registry, Limits: b.limits, Uptime: b.uptime,
		Now: func() time.Time { return time.Now().Add(ahead + time.Duration(b.later.Add(tick))) }, Room: b.room, Twin: b.twin, Busy: b.busy, Used: b.used,
		Dir: b.dir, Guest: guest, Key: b.key, Store: b.store, IPFS: b.ipfs, Images: b.imgs,
		Executor: ex, Volumes: vols, Inputs: inputs, CARs: cars, Capacity: b.cap, Labels: b.labels, Network: b.network, Logger: log,
		StopGrace: 50 * time.Millisecond, Admit: b.admit, Budget: b.budget, Fetches: b.fetches, Patience: b.patience, SweepEvery: b.sweepEvery, AuditEvery: b.auditEvery,
	}
	if b.attached != nil {
		cfg.Attached = b.attached
	}
	sc, err := sidecar.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sc.Run(ctx) }()
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		_ = tend(ctx)
	}()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		if post != nil {
			_ = post.Run(ctx)
		}
	}()
	for !sc.Begun() && len(ended) == 0 {
		runtime.Gosched()
	}
	b.Sidecar = sc
	b.running.Store(sc)
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("Run = %v", err)
		}
		<-heard
		<-tended
		b.closeRecord()
		leave()
		b.stop = func() {}
	}
}

// beginning calls begins when a sidecar has begun, which then is what it does
// first.
type beginning struct {
	bus.Streams
	begins func()
}

func (s beginning) Handle(p bus.Protocol, h func(context.Context, bus.Stream)) {
	if h != nil {
		s.begins()
	}
	if s.Streams != nil {
		s.Streams.Handle(p, h)
	}
}

func (b *bench) inputs(name string, log *slog.Logger, stage func(context.Context, jobspec.CID, string) (int64, error)) *inputcache.Cache {
	b.t.Helper()
	c, err := inputcache.Open(b.t.Context(), inputcache.Config{
		Dir: filepath.Join(b.dir, name), MaxBytes: cmp.Or(b.cacheBytes, 1<<30), Logger: log, Stage: stage,
		Brief: func(ctx context.Context, c jobspec.CID) bool {
			return b.attached != nil && sidecar.ReadsAttached(ctx, b.ipfs, b.attached, c)
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// restart is what a crash and a start do to everything but the disk.
func (b *bench) restart() {
	b.stop()
	b.start()
}
