package sidecar

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/courier"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/sidecar/inputcache"
	"github.com/ipdc/ipdc/sidecar/pip"
	"github.com/ipdc/ipdc/sidecar/proxy"
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
	Used         func() string                               // how other programs use the machine for some time by now, "" when they do not: members deal it less then; default never
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
	WorkKept     time.Duration                               // how long a task of another node's job is kept here after its end; default 7 days
	Arrive       time.Duration                               // how long the tasks of a gang may take until all can start; default 15 min
	BackupAfter  time.Duration                               // a task that runs shorter gets no backup attempt; default 15 s
	Courier      *courier.Courier                            // delivers what jobs publish, run by the caller; nil = they may not
	Shutdown     context.CancelFunc                          // called by the API's stop; default none
	Registry     prometheus.Registerer                       // takes the metrics; default none
}

// withDefaults is the configuration with what it leaves open.
func (cfg Config) withDefaults() Config {
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
	cfg.WorkKept = cmp.Or(cfg.WorkKept, 7*24*time.Hour)
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
	return cfg
}
