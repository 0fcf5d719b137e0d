// Package schedule submits jobs at instants: those that a cron expression names,
// or each time that a head moves.
//
//	e, err := schedule.New(schedule.Config{Store: st, Jobs: jobs})
//	go e.Run(ctx)
//	s, created, err := e.Add(ctx, jobspec.Schedule{Tenant: "local", Name: "nightly", Cron: "0 2 * * *", Zone: "Europe/Lisbon", Spec: spec})
//	history, err := e.History(ctx, "local", "nightly", 20, 0)
//
// Invariants: an instant is a row (schedule, kind, slot) before it is anything
// else, and the id of its job follows from that row, so that it runs once at
// most, whatever crashes and however the clock is set; each instant up to now
// has a job or is listed as missed, with the reason; work is bounded for any
// expression and any length of downtime.
package schedule

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/internal/keylock"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Jobs makes the jobs of instants. Its methods may be called again after any
// error and after a crash.
type Jobs interface {
	// Submit makes the job of an instant under Instant.JobID, or finds it made.
	// E_LEASE_LOST: another member owns the schedule. Kinds of which retryable
	// is false are refusals for good.
	Submit(ctx context.Context, r Run) error
	// Ended says how a job ended; over is false while it has not.
	Ended(ctx context.Context, tenant string, id jobspec.JobID) (end End, over bool, err error)
	// Stop asks a job to end.
	Stop(ctx context.Context, tenant string, id jobspec.JobID) error
}

// Run is one instant that is to become a job.
type Run struct {
	jobspec.Instant
	Tenant string
	Spec   jobspec.Spec
	Epoch  int // of the schedule in the keepers' record; 0 = they do not know it
}

// End is how a job ended.
type End struct {
	State    jobspec.JobState
	Result   jobspec.CID
	Detail   string // of its failure
	Finished time.Time
}

// Holder keeps what a schedule needs, and knows of it in the whole domain.
type Holder interface {
	// Hold pins what the schedule's jobs need and enters it into the keepers'
	// record; nil without keepers.
	Hold(ctx context.Context, s jobspec.Schedule) (*jobspec.Tenure, error)
	// Amend tells the keepers whether it is paused.
	Amend(ctx context.Context, s jobspec.Schedule) error
	// Count tells them what its slots count from now on.
	Count(ctx context.Context, s jobspec.Schedule, c jobspec.Counts) error
	// Over reports whether a schedule that another member owned was removed, or
	// can never be heard of here any more.
	Over(ctx context.Context, s jobspec.Schedule) (bool, error)
	// Release takes both back; of one that another member owns the pins.
	Release(ctx context.Context, s jobspec.Schedule) error
	// Ready reports whether this node may decide about the schedule now: it is
	// not sure of one that it owned before it was started, until the keepers say so.
	Ready(s jobspec.Schedule) bool
}

// Config is what an Engine is made of. All fields without a default are required.
type Config struct {
	Store     *store.Store
	Jobs      Jobs
	Holder    Holder               // default: nothing is held
	Heads     Heads                // of datasets and names; nil = --on-change is refused
	Now       func() time.Time     // the clock on the wall; default time.Now
	Elapsed   func() time.Duration // a clock that nobody sets; default since New
	Interval  time.Duration        // the least between two instants of a schedule; default 1 min
	Grace     time.Duration        // how late an instant is still on time; default 1 min
	PerTenant int                  // schedules of one tenant; default 100
	History   int                  // instants of a schedule that are kept; default 10,000
	Parallel  int                  // schedules whose jobs are made at the same time; default 8
	Within    time.Duration        // how long the making of one job may take, until it is tried again; default 2 min
	Poll      time.Duration        // how often clock, heads and jobs elsewhere are looked at; default 5 s. See Engine.Moved
	Step      func(string) error   // called at each place between two durable steps; default failpoint.Hit
	Logger    *slog.Logger         // default none
	Registry  prometheus.Registerer
}

// Engine runs the schedules of a node. Its methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	metrics metrics
	wake    chan struct{}
	visits  visits
	adding  keylock.Locks // of new schedules, by tenant and name

	mu       sync.Mutex
	next     map[jobspec.ScheduleID]time.Time // when to decide of each again; zero = when it is woken
	live     map[jobspec.ScheduleID]bool      // has instants that have not ended
	asked    map[jobspec.ScheduleID]bool      // to be looked at since the last pass came to it
	entering map[jobspec.ScheduleID]bool      // not acknowledged yet
	retry    map[string]time.Duration         // instants that were refused, by key: when to try again

	unsafeTwice bool // a test takes the guard of rows away

	tick  sync.Mutex // one pass at a time; guards what follows
	began bool       // the first pass is over
	wall  time.Time  // of the last pass
	ran   time.Duration
}

// New returns an engine; it does no I/O.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil || cfg.Jobs == nil {
		return nil, errors.New("schedule: a part is missing in Config")
	}
	if cfg.Holder == nil {
		cfg.Holder = nowhere{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Elapsed == nil {
		began := time.Now()
		cfg.Elapsed = func() time.Duration { return time.Since(began) }
	}
	cfg.Interval, cfg.Grace = cmp.Or(cfg.Interval, time.Minute), cmp.Or(cfg.Grace, time.Minute)
	cfg.PerTenant, cfg.History = cmp.Or(cfg.PerTenant, 100), cmp.Or(cfg.History, 10_000)
	cfg.Parallel, cfg.Within, cfg.Poll = cmp.Or(cfg.Parallel, 8), cmp.Or(cfg.Within, 2*time.Minute), cmp.Or(cfg.Poll, 5*time.Second)
	if cfg.Step == nil {
		cfg.Step = failpoint.Hit
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1),
		next: map[jobspec.ScheduleID]time.Time{}, live: map[jobspec.ScheduleID]bool{}, asked: map[jobspec.ScheduleID]bool{},
		entering: map[jobspec.ScheduleID]bool{}, retry: map[string]time.Duration{},
		visits: visits{most: cfg.Parallel, going: map[jobspec.ScheduleID]context.CancelFunc{}},
	}
	e.metrics = newMetrics(cfg.Registry, e)
	return e, nil
}

// nowhere is a Holder of a node alone.
type nowhere struct{}

func (nowhere) Hold(context.Context, jobspec.Schedule) (*jobspec.Tenure, error) { return nil, nil }
func (nowhere) Amend(context.Context, jobspec.Schedule) error                   { return nil }
func (nowhere) Count(context.Context, jobspec.Schedule, jobspec.Counts) error   { return nil }
func (nowhere) Over(context.Context, jobspec.Schedule) (bool, error)            { return false, nil }
func (nowhere) Release(context.Context, jobspec.Schedule) error                 { return nil }
func (nowhere) Ready(jobspec.Schedule) bool                                     { return true }
