// Package sidecar is the daemon: it accepts jobs, prepares and plans them,
// runs their tasks beside the data, publishes one result CID each, and after a
// crash goes on where it was. One file per role:
//
//	intake     what the API calls: submit, show, stop, remove
//	told       what the API tells of jobs, and what follows them
//	show       what is told of a job's tasks and stages
//	fetcher    brings what is not stored here, before a job is prepared
//	preparer   accepted  -> queued: names become identities, the plan is made
//	splitter   an input becomes shards, where the spec asks for them
//	stager     the next stage of a job is planned; stage is one of them
//	datasets   names of datasets become CIDs, and what is new in them
//	installer  requirements become a directory of packages, by a job of their own
//	placer     queued    -> running: leases in order of submission, by resources
//	runner     an attempt's way from its lease to its signed receipt; launch until it runs
//	locator    who may run a task, who holds what of its input: there it goes
//	overflow   a task that waited too long goes to a node kept for that
//	handover   a job that another member takes over; handed, member go with it
//	course     a task's way through its attempts, and where each of them is made
//	remote     an attempt that another member makes, at the owner
//	worker     the same at that member; deliver tells its owner how it ended
//	owner      what the domain's keepers know of the jobs here
//	takeover   signs of life to them, jobs lost, taken over and handed on
//	custody    what jobs of others need, kept until they are over
//	publisher  running   -> published -> succeeded: outputs become one CID
//	outlets    where results are sent to at the end of a job, and who is told
//	merger     the outputs of a job that has ended, in another way
//	rescuer    what a node does first after it was killed
//	replica    has other members hold results and outputs, too
//	holder     the same at such a member
//	repairer   finds new holders for those that are gone, and lets go
//	auditor    reads results again, and says when one is not whole any more
//	ending     how a job fails or is stopped, and what it gives back then
//	waits      what a job waits for that is not about it: a disk, a Kubo; and for how long
//	keeper     removes jobs at the end of their time, and by prune
//	cleaner    removes what an attempt leaves on the machine
//	schedules  jobs that are submitted again and again; schedule has the engine
//	sweeper    removes what no row of this node knows
//
// A node is put together in cmd/ipdc:
//
//	sc, err := sidecar.New(sidecar.Config{Dir: dir, Key: key, Store: st, IPFS: node, ...})
//	err = sc.Run(ctx) // until ctx ends; containers go on
//
// Invariants: a job is acknowledged after fsync and then never forgotten; each
// step is a side effect named by (job, attempt) that can be repeated, followed
// by a row that says it is done; a job has at most one result, which is stored,
// pinned and verified before anyone reads of it; only objects under this
// node's own name prefix are ever touched.
package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/internal/keylock"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/courier"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/sidecar/pip"
	"github.com/ipdc/ipdc/sidecar/proxy"
	"github.com/ipdc/ipdc/sidecar/schedule"
	"github.com/ipdc/ipdc/sidecar/volume"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Config is what a sidecar is made of. All fields without a default are
// required.
type Config struct {
	Dir          string                                      // state: logs/ and run/ are made below it
	Guest        string                                      // path of the ipdc-guest binary, mounted into every container
	Key          identity.Key                                // signs receipts; its id names the node
	Store        *store.Store                                // closed by the caller after Run
	IPFS         ipfs.Node                                   // closed by the caller after Run
	Fetches      bool                                        // IPFS asks others for what it does not have, which takes time
	Images       images.Store                                //
	Executor     executor.Executor                           //
	Volumes      *volume.Pool                                // bounded /outputs directories
	Inputs       *inputcache.Cache                           // staged inputs, read-only
	CARs         *inputcache.Cache                           // inputs staged as CARs, each a directory with the file inputcache.CAR
	Attached     Attached                                    // CAR files that are read where they lie; default none
	Index        pip.Index                                   // where Python packages come from; default PyPI
	Budget       ipfs.Budget                                 // of one input; zero fields have ipfs's defaults
	Admit        func(context.Context) error                 // refuses a new job when there is no room for it; default none
	Check        func(context.Context) error                 // only looks, while data comes in; default none
	Storage      func(context.Context) (wire.Storage, error) // what status shows of the disk; default nothing
	Twin         func() error                                // why this process takes no work: another one has the node's identity; default none
	Degraded     func() []string                             // what status shows of files that cannot be read again, each "part: why"; default nothing
	Capacity     wire.Capacity                               // of all tasks together; every field is positive
	Busy         func(memory jobspec.Bytes) string           // why the machine has nothing to spare for a task of so much, "" when it has: while it has not, one task at a time starts; default never
	Labels       map[string]string                           // of this node, which jobs may ask for
	Network      proxy.Config                                // bounds of what jobs may be granted; Logger is set by the sidecar
	CA           string                                      // certificate authorities that containers with a network are shown; "" = none
	CgroupParent string                                      // ceiling of all containers; "" = the engine's default
	Node         wire.Node                                   // what status shows and only cmd knows: version, paths, addresses
	Logger       *slog.Logger                                // default slog.Default
	Limits       Limits                                      // of containers and tenants
	SweepEvery   time.Duration                               // default 30 s
	AuditEvery   time.Duration                               // between two results that are read again, each once a day; default 1 min
	Patience     time.Duration                               // how long a job is prepared again while the engine does not answer, and a task of another member waits for blocks or a disk; default 90 s
	StopGrace    time.Duration                               // from SIGTERM to SIGKILL; default 5 s
	Now          func() time.Time                            // default time.Now
	Uptime       func() time.Duration                        // of the machine, without the time that it was suspended; default the kernel's
	Post         *bus.Post                                   // to the other members, run by the caller; nil = a node alone
	Streams      bus.Streams                                 // connections to them, for gangs; nil = none
	Crew         Crew                                        // who they are; nil with Post nil
	Record       Record                                      // of the domain's jobs; nil = none
	Datasets     *dataset.Keeper                             // what jobs name as inputs and schedules follow; nil = none. Run by the caller
	Names        Names                                       // what schedules may follow beside datasets; nil = none
	Lease        time.Duration                               // how long a member that runs a task may be silent; default 60 s
	Room         func(context.Context, int64) error          // refuses so many bytes for another member when there is no room for them; default none
	Repair       time.Duration                               // how long a holder of a copy may be away before another one takes its place; default 1 h
	Orphans      time.Duration                               // how long copies are held for a member that is gone; default 90 days
	Arrive       time.Duration                               // how long the tasks of a gang may take until all can start; default 15 min
	BackupAfter  time.Duration                               // a task that runs shorter gets no backup attempt; default 15 s
	Courier      *courier.Courier                            // delivers what jobs publish, run by the caller; nil = they may not
	Shutdown     context.CancelFunc                          // called by the API's stop; default none
	Registry     prometheus.Registerer                       // takes the metrics; default none
}

// Sidecar is a running node. Its exported methods are safe for concurrent use.
type Sidecar struct {
	cfg    Config
	log    *slog.Logger
	id     identity.ID
	prefix string // of every engine object: "ipdc-<short id>-"
	hub    *hub
	placer *placer

	metrics metrics

	began time.Time // when the node started

	preparing chan struct{} // bounds jobs in preparation

	loading keylock.Locks // of image archives, by CID
	handing keylock.Locks // of submits to other members, by tenant and key
	taking  keylock.Locks // of assignments, by owner, attempt and token

	messages *semaphore.Weighted // bytes of messages' files in memory

	mu      sync.Mutex
	base    context.Context // of Run; nil before and after
	ended   bool            // Run has returned
	arch    string          // of the executor; "" = not known yet
	strict  string          // what gives containers a kernel of their own here; "" = nothing
	silent  error           // why that is not known: an executor did not answer; nil = all have
	drivers map[jobspec.JobID]*driver
	work    sync.WaitGroup // drivers and cleaners

	// reserved are the resources of attempts that an earlier process left
	// running, until their runners take them over.
	reserved  map[jobspec.AttemptID]jobspec.Resources
	seats     map[string]*seats                   // room that is held for tasks of gangs, by seatKey
	standings map[string]*standing                // of other members' gangs in the line for room, by owner and job
	sitting   map[jobspec.JobID]jobspec.Resources // of tasks of other nodes' gangs that have come, until they are leased
	cleaning  map[jobspec.AttemptID]bool
	looked    map[jobspec.JobID]int // the sweeper's own: jobs that keep so many pins of attempts on purpose
	cleaners  chan struct{}         // one element per attempt that is being cleaned in its turn
	kept      kept
	unsure    []jobspec.JobID             // of an earlier process, until the keepers say that they are this node's
	entering  keylock.Locks               // of submits, by tenant and idempotency key
	away      map[jobspec.AttemptID]*away // attempts that other nodes make
	copies    copies
	tails     map[jobspec.AttemptID]int // how many wait for the log of an attempt
	shy       shy                       // members that are not asked for now
	drainer   *drainer                  // nil: the node takes work

	gangs     *peering.Exchange
	schedules *schedule.Engine
	sureOf    string // the record whose keepers have said which schedules are this node's; guarded by mu
}

// New returns a sidecar; it does no I/O.
func New(cfg Config) (*Sidecar, error) {
	if cfg.Store == nil || cfg.IPFS == nil || cfg.Images == nil || cfg.Executor == nil || cfg.Volumes == nil || cfg.Inputs == nil || cfg.CARs == nil {
		return nil, errors.New("sidecar: a part is missing in Config")
	}
	if c := cfg.Capacity; c.CPU <= 0 || c.Memory <= 0 || c.Disk <= 0 {
		return nil, fmt.Errorf("sidecar: capacity %+v must be positive", c)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Attached == nil {
		cfg.Attached = unattached{}
	}
	if cfg.Index.URL == "" {
		cfg.Index, _ = pip.ParseIndex("") // never fails for the default
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.SweepEvery <= 0 {
		cfg.SweepEvery = 30 * time.Second
	}
	if cfg.AuditEvery <= 0 {
		cfg.AuditEvery = time.Minute
	}
	if cfg.StopGrace <= 0 {
		cfg.StopGrace = 5 * time.Second
	}
	if cfg.Admit == nil {
		cfg.Admit = func(context.Context) error { return nil }
	}
	if cfg.Check == nil {
		cfg.Check = func(context.Context) error { return nil }
	}
	if cfg.Room == nil {
		cfg.Room = func(context.Context, int64) error { return nil }
	}
	cfg.Repair, cfg.Orphans = cmp.Or(cfg.Repair, time.Hour), cmp.Or(cfg.Orphans, 90*24*time.Hour)
	if cfg.Storage == nil {
		cfg.Storage = func(context.Context) (wire.Storage, error) { return wire.Storage{}, nil }
	}
	if cfg.Twin == nil {
		cfg.Twin = func() error { return nil }
	}
	if cfg.Degraded == nil {
		cfg.Degraded = func() []string { return nil }
	}
	if cfg.Patience == 0 {
		cfg.Patience = 90 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Uptime == nil {
		cfg.Uptime = uptime
	}
	if cfg.Lease <= 0 {
		cfg.Lease = time.Minute
	}
	if cfg.Arrive <= 0 {
		cfg.Arrive = 15 * time.Minute
	}
	if cfg.BackupAfter <= 0 {
		cfg.BackupAfter = 15 * time.Second
	}
	id := cfg.Key.ID()
	s := &Sidecar{
		cfg:       cfg,
		log:       cfg.Logger.With("node", id.Short()),
		id:        id,
		prefix:    ObjectPrefix(id),
		hub:       newHub(),
		placer:    newPlacer(cfg.Capacity, cfg.Busy),
		preparing: make(chan struct{}, 8),
		drivers:   map[jobspec.JobID]*driver{},
		reserved:  map[jobspec.AttemptID]jobspec.Resources{},
		seats:     map[string]*seats{},
		standings: map[string]*standing{},
		sitting:   map[jobspec.JobID]jobspec.Resources{},
		cleaning:  map[jobspec.AttemptID]bool{},
		cleaners:  make(chan struct{}, cleaners),
		messages:  semaphore.NewWeighted(maxMessageFile),
		away:      map[jobspec.AttemptID]*away{},
		tails:     map[jobspec.AttemptID]int{},
		copies:    newCopies(),
		metrics:   newMetrics(cfg.Registry),
		began:     time.Now(),
	}
	if cfg.Registry != nil {
		if err := cfg.Registry.Register(newGauges(s)); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	s.gangs = peering.New(peering.Config{Self: id, Streams: cfg.Streams, Logger: s.log})
	var err error
	if s.schedules, err = s.newSchedules(); err != nil {
		return nil, err
	}
	s.listen()
	return s, nil
}

// ObjectPrefix begins the name of every engine object of a node, so that
// several nodes share one engine without touching each other's.
func ObjectPrefix(id identity.ID) string { return ObjectPrefixes + id.Short() + "-" }

// ObjectPrefixes begins the prefix of each node.
const ObjectPrefixes = "ipdc-"

// Run takes up what an earlier process left, then serves until ctx ends.
// Containers are left running: the next Run re-attaches to them. It returns
// nil after an orderly end.
func (s *Sidecar) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.base = ctx
	s.mu.Unlock()
	defer s.work.Wait()
	defer s.end(cancel)
	if s.cfg.Streams != nil {
		s.cfg.Streams.Handle(peering.Protocol, s.gangs.Serve)
		defer s.cfg.Streams.Handle(peering.Protocol, nil)
	}
	if err := s.rescue(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("rescue: %w", err)
	}
	s.work.Go(func() { s.repairer(ctx) })
	s.work.Go(func() { s.auditor(ctx) })
	if s.cfg.Busy != nil {
		s.work.Go(func() { s.placer.watch(ctx, 5*time.Second) })
	}
	s.work.Go(func() { s.schedules.Run(ctx) })
	if s.cfg.Record != nil {
		s.work.Go(func() { s.tendTenures(ctx) })
	}
	tick := time.NewTicker(s.cfg.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			err := s.sweep(ctx)
			s.metrics.swept(err)
			if err != nil && ctx.Err() == nil {
				s.log.Warn("sweep", "err", err)
			}
		}
	}
}

// errStarting refuses what needs a node that has begun.
var errStarting = jobspec.Failure{Kind: jobspec.KindConflict, Where: "node", Detail: "the node is starting", Hint: "try again in a second"}.Error()

// begun returns why no work can begin: Run has not, or comes to its end. Its
// caller has mu.
func (s *Sidecar) begun() error {
	switch {
	case s.ended || s.base != nil && s.base.Err() != nil:
		return errShutdown
	case s.base == nil:
		return errStarting
	}
	return nil
}

// end lets no further driver or cleaner begin, and those that run come to
// their end.
func (s *Sidecar) end(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base, s.ended = nil, true
	cancel()
}

func (s *Sidecar) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }

func (s *Sidecar) logDir(job jobspec.JobID) string {
	return filepath.Join(s.cfg.Dir, "logs", job.String())
}

func (s *Sidecar) logFile(id jobspec.AttemptID) string {
	return filepath.Join(s.logDir(id.Job), fmt.Sprintf("%d-%d.log", id.Task, id.Try))
}

func (s *Sidecar) runDir(id jobspec.AttemptID) string {
	return filepath.Join(s.cfg.Dir, "run", id.String())
}

// Pin names, so that each can be set again after a crash and removed by job.
func pinName(job jobspec.JobID, what string) string { return "job/" + job.String() + "/" + what }

func attemptPin(id jobspec.AttemptID) string {
	return pinName(id.Job, fmt.Sprintf("attempt/%d-%d", id.Task, id.Try))
}
