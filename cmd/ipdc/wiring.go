package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/hostload"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/courier"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/sidecar/fleet"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/pip"
	"github.com/ipdc/ipdc/sidecar/room"
	"github.com/ipdc/ipdc/sidecar/volume"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// node is a running sidecar with all its parts. It is taken apart in the
// reverse order in which it was put together.
type node struct {
	set     settings
	log     *slog.Logger
	key     identity.Key
	closers []func() error

	registry *prometheus.Registry

	store    *store.Store
	ipfs     ipfs.Node
	backend  string        // what ipfs is, for people
	names    sidecar.Names // nil = no backend resolves any
	attached *attachments  // nil with a Kubo
	room     *room.Keeper
	caches   []*inputcache.Cache // empty until they are open
	unix     net.Listener
	tcp      net.Listener

	courier *courier.Courier
	host    *hostload.Watch

	member   domain.Membership // as it was at the start
	doorway  *doorway
	exchange *exchange
	swarm    *swarm // nil where p2p-listen is off
	datasets *dataset.Keeper
}

// serve takes the state directory and runs a node on it until ctx ends, put
// together anew when it is in another domain. ready is called each time that it
// takes jobs.
func serve(ctx context.Context, set settings, log *slog.Logger, ready func(wire.Node)) error {
	syscall.Umask(0o077)
	if err := sidecar.CheckUIDs("/etc"); err != nil {
		return err
	}
	switch err := sidecar.AskUIDs(ctx); {
	case errors.Is(err, jobspec.KindPolicy.Error()):
		return err
	case err != nil:
		log.Warn("who has containers' UIDs", "err", err)
	}
	if err := os.MkdirAll(set.Path, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	lock, err := lockState(set.Path)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := durable.Sweep(set.Path); err != nil {
		log.Warn("what an earlier process left", "err", err)
	}
	for {
		err := serveOnce(ctx, set, log, ready)
		if !errors.Is(err, errMoved) || ctx.Err() != nil {
			return err
		}
		log.Info("this node is in another domain now and begins anew; jobs go on")
	}
}

func serveOnce(ctx context.Context, set settings, log *slog.Logger, ready func(wire.Node)) (err error) {
	n := &node{set: set, log: log, registry: newRegistry()}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.open(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sc, err := n.sidecar(ctx, cancel)
	if err != nil {
		return err
	}
	a := api.New(n.apiConfig(sc))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return sc.Run(ctx) })
	g.Go(func() error { return n.store.Run(ctx) })
	g.Go(func() error { return n.room.Run(ctx) })
	g.Go(func() error { return n.courier.Run(ctx) })
	g.Go(func() error { n.host.Run(ctx); return nil })
	g.Go(func() error { return n.datasets.Run(ctx) })
	g.Go(func() error { return a.Serve(ctx, n.unix, n.tcp) })
	if n.swarm != nil {
		n.swarm.offer.Store(&offering{sc})
		g.Go(func() error { return n.swarm.run(ctx) })
	}
	info, err := sc.Node(ctx)
	if err != nil {
		cancel()
		return errors.Join(err, g.Wait())
	}
	ready(info)
	return g.Wait()
}

func (n *node) onClose(f func() error) { n.closers = append(n.closers, f) }

func (n *node) close() error {
	var err error
	for i := len(n.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, n.closers[i]())
	}
	n.closers = nil
	return err
}

// open opens what is in the state directory.
func (n *node) open(ctx context.Context) (err error) {
	if n.key, err = identity.LoadOrCreate(filepath.Join(n.set.Path, "identity.key")); err != nil {
		return err
	}
	if n.store, err = store.Open(ctx, filepath.Join(n.set.Path, "state.db"), n.log); err != nil {
		return err
	}
	n.onClose(n.store.Close)
	if err := n.enterDomain(); err != nil {
		return err
	}
	if err := n.openIPFS(ctx); err != nil {
		return err
	}
	n.watch()
	if err := n.ownToken(ctx); err != nil {
		return err
	}
	if err := n.listen(ctx); err != nil {
		return err
	}
	if err := n.openSwarm(ctx); err != nil {
		return err
	}
	return n.openDoor(ctx)
}

// lockFile has the number of the process that holds it.
const lockFile = "node.lock"

// lockState takes the state directory for this process until the file is
// closed. A second node on the same directory is told who has it.
func lockState(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b := make([]byte, 20)
		n, _ := f.ReadAt(b, 0)
		f.Close()
		return nil, fmt.Errorf("a node runs on %s already (process %s); stop it with: ipdc node stop, or give this one another directory with --path", dir, strings.TrimSpace(string(b[:n])))
	}
	err = errors.Join(f.Truncate(0), writePID(f))
	return f, err
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// sidecar puts the daemon together from its adapters.
func (n *node) sidecar(ctx context.Context, shutdown context.CancelFunc) (*sidecar.Sidecar, error) {
	guest, err := n.guest()
	if err != nil {
		return nil, err
	}
	capacity, err := n.set.capacity()
	if err != nil {
		return nil, err
	}
	eng, err := n.engines(ctx, capacity)
	if err != nil {
		return nil, err
	}
	capacity.GPU = eng.gpus
	vols, err := volume.Open(ctx, volume.Config{Dir: filepath.Join(n.set.Path, "volumes"), Spares: spareVolumes, Logger: n.log})
	if err != nil {
		return nil, err
	}
	n.onClose(vols.Close)
	inputs, err := n.inputs(ctx, "inputs", n.stageFiles)
	if err != nil {
		return nil, err
	}
	n.onClose(inputs.Close)
	cars, err := n.inputs(ctx, "cars", n.stageCAR)
	if err != nil {
		return nil, err
	}
	n.onClose(cars.Close)
	index, err := pip.ParseIndex(cmp.Or(n.set.Index, os.Getenv("PIP_INDEX_URL")))
	if err != nil {
		return nil, err
	}
	post, crew, record := n.others()
	n.keepDatasets()
	labels, err := fleet.ParseLabels(n.set.Labels)
	if err != nil {
		return nil, usagef("--label: %w", err)
	}
	var streams bus.Streams
	var twin func() error
	if n.swarm != nil {
		streams, twin = n.swarm.streams, n.swarm.twin.Check
	}
	n.courier = courier.New(courier.Config{
		Store: n.store, IPFS: n.ipfs, Outlets: outletsFile(n.set.outlets()), Dir: n.set.Path, Node: n.key.ID().String(), Budget: wholeResult, Pause: n.set.OutletPause.Std(), Logger: n.log,
	})
	n.host = n.watchHost(eng)
	return sidecar.New(sidecar.Config{
		Busy: n.host.Busy, Used: n.host.Used,
		Courier: n.courier, Attached: n.attachedFiles(),
		Streams: streams, Datasets: n.datasets, Names: n.names, Post: post, Crew: crew, Record: record, Lease: n.set.Lease.Std(), Arrive: n.set.GangArrive.Std(),
		Dir: n.set.Path, Guest: guest, Key: n.key, Store: n.store, IPFS: n.ipfs, Images: eng.images, Executor: eng.executor,
		Volumes: vols, Inputs: inputs, CARs: cars, Index: index, Capacity: capacity, Labels: labels, CgroupParent: eng.parent, Logger: n.log, Shutdown: shutdown, Registry: n.registry,
		Network: n.network(), CA: n.authorities(), Fetches: n.set.IPFS != "" || n.exchange.asks(), Budget: n.set.inputBudget(),
		Admit: func(ctx context.Context) error { return n.room.Admit(ctx, 0) }, Check: func(ctx context.Context) error { return n.room.Check(ctx, 0) }, Storage: n.room.Storage, Degraded: n.degraded, Twin: twin,
		Room: n.room.Admit, Repair: n.set.Repair.Std(), Orphans: n.set.Orphans.Std(), WorkKept: n.set.WorkKept.Std(),
		Limits: n.set.limits(), SweepEvery: n.set.SweepEvery.Std(), StopGrace: n.set.StopGrace.Std(), Patience: n.set.EngineWait.Std(),
		Node: wire.Node{
			Version: version, PID: os.Getpid(), Started: time.Now().UTC(),
			Path: n.set.Path, Socket: n.set.socket(), Address: n.tcp.Addr().String(), IPFS: n.backend,
			Domain: n.member.Name.String(), DomainID: n.member.ID().String(),
		},
	})
}

// watchHost sees what programs use that are not jobs, of this node or another.
func (n *node) watchHost(eng engines) *hostload.Watch {
	cfg := hostload.Config{Jobs: []string{sidecar.ObjectPrefixes}, Limit: n.set.HostBusy}
	if !eng.grouped {
		cfg.Limit = 0
		n.log.Warn("jobs do not step back from other programs (host-busy): without a control group of their own they cannot be told from them")
	} else if n.set.CgroupParent != "" {
		cfg.Jobs = append(cfg.Jobs, filepath.Base(n.set.CgroupParent))
	}
	return hostload.New(cfg)
}

// spareVolumes is how many outputs volumes are kept ready: as many as a small
// machine starts at the same time.
const spareVolumes = 3

// stager writes what a CID names below dest and returns the bytes it takes.
type stager func(ctx context.Context, c jobspec.CID, dest string) (int64, error)

func (n *node) stageFiles(ctx context.Context, c jobspec.CID, dest string) (int64, error) {
	st, err := stage.Dir(ctx, n.ipfs, c, dest, stage.Options{Budget: n.set.inputBudget(), FileMode: 0o444, DirMode: 0o555})
	return st.Bytes, err
}

func (n *node) stageCAR(ctx context.Context, c jobspec.CID, dest string) (int64, error) {
	return stage.CAR(ctx, n.ipfs, c, filepath.Join(dest, inputcache.CAR), n.set.inputBudget())
}

// inputs opens a cache of staged inputs, a quarter of the free disk at most.
func (n *node) inputs(ctx context.Context, name string, stage stager) (*inputcache.Cache, error) {
	free, err := diskFree(n.set.Path)
	if err != nil {
		return nil, err
	}
	cache, err := inputcache.Open(ctx, inputcache.Config{
		Dir: filepath.Join(n.set.Path, name), MaxBytes: int64(cmp.Or(n.set.InputCache, free/4)), Logger: n.log, Stage: stage, Brief: n.brief,
	})
	if err == nil {
		n.caches = append(n.caches, cache)
	}
	return cache, err
}

func diskFree(path string) (jobspec.Bytes, error) {
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(path, &st)
		if err == nil {
			return jobspec.Bytes(st.Bavail) * jobspec.Bytes(st.Bsize), nil
		}
		if up := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && up != path {
			path = up
			continue
		}
		return 0, fmt.Errorf("free disk of %s: %w", path, err)
	}
}

func memoryTotal() (jobspec.Bytes, error) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("memory of the machine: %w", err)
	}
	return jobspec.Bytes(info.Totalram) * jobspec.Bytes(info.Unit), nil
}
