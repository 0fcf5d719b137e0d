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
//	owner      what the domain's keepers know of the jobs here; settle tells them of an end
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
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/keylock"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

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
	mounted   map[jobspec.AttemptID]bool          // that may have inputs mounted, and have not asked for them in this process
	seats     map[string]*seats                   // room that is held for tasks of gangs, by seatKey
	standings map[string]*standing                // of other members' gangs in the line for room, by owner and job
	sitting   map[jobspec.JobID]jobspec.Resources // of tasks of other nodes' gangs that have come, until they are leased
	cleaning  map[jobspec.AttemptID]bool
	looked    map[jobspec.JobID]int // the sweeper's own: jobs that keep so many pins of attempts on purpose
	cleaners  chan struct{}         // one element per attempt that is being cleaned in its turn
	kept      kept
	rescued   bool                        // it is known what an earlier process left: drivers may take room
	early     []jobspec.JobID             // that came before that
	unsure    []jobspec.JobID             // of an earlier process, until the keepers say that they are this node's
	entrusted map[jobspec.JobID]trust     // what keepers hold for this node's jobs and schedules; of earlier processes it is not known
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
	cfg = cfg.withDefaults()
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
		mounted:   map[jobspec.AttemptID]bool{},
		seats:     map[string]*seats{},
		standings: map[string]*standing{},
		sitting:   map[jobspec.JobID]jobspec.Resources{},
		cleaning:  map[jobspec.AttemptID]bool{},
		cleaners:  make(chan struct{}, cleaners),
		messages:  semaphore.NewWeighted(maxMessageFile),
		away:      map[jobspec.AttemptID]*away{},
		entrusted: map[jobspec.JobID]trust{},
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
	for { // the first sweep may be slow: nothing waits for it
		err := s.sweep(ctx)
		s.metrics.swept(err)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("sweep", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Why no work can begin.
var (
	errStarting = jobspec.Failure{Kind: jobspec.KindConflict, Where: "node", Detail: "the node is starting", Hint: "try again in a second"}.Error()
	errShutdown = errors.New("the node is stopping")
	// errClosing is errShutdown for who brings work.
	errClosing = jobspec.Failure{Kind: jobspec.KindConflict, Where: "node", Detail: "the node is stopping", Hint: "submit to another one, or again when it has started"}.Error()
)

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
