// Package quorum is the record of the jobs of a domain: which node owns which
// job, since which epoch, and how it ended. Up to five members, the keepers,
// hold it by Raft; every other member asks them. When an owner gives no sign of
// life for three leases the leader grants its jobs, under the next epoch, to
// another member; only the newest epoch can end a job, and so publish.
//
//	q, err := quorum.Open(quorum.Config{Dir: dir, Self: id, Post: post, Streams: streams, ...})
//	go q.Run(ctx)
//	err = q.Enter(ctx, wire.Recorded{Job: id, Owner: self, Epoch: 1, ...}) // on a majority's disks
//	got, err := q.Renew(ctx, claims)                                    // what was lost, and granted
//	err = q.End(ctx, wire.Ending{Claim: claim, State: "published", Result: c})
//	err = q.Close()
//
// Invariants: a domain has at most one record, made by its founder, and a node
// speaks of that one only; what was entered stays until it is over; an epoch
// has one owner; a job ends under its newest epoch only. A domain of one or two
// nodes has no keepers, and nothing is asked or written there.
package quorum

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/wire"
)

// Config is what a Quorum is made of. All fields without a default are required.
type Config struct {
	Dir     string                 // state of this domain's record; made when there is one
	Self    identity.ID            // this node
	Post    *bus.Post              // Open adds a handler to it, so that it runs afterwards
	Streams bus.Streams            // between the keepers
	Live    func() []identity.ID   // other members that were heard of lately
	Founder bool                   // this node made the domain, and so makes its record
	Joined  time.Time              // since when this node is a member: the oldest keep the record
	Revoked func(identity.ID) bool // default nobody
	Lease   time.Duration          // default 60 s: an owner that is silent for three loses its jobs
	Logger  *slog.Logger           // default none
}

// Quorum is this node's access to the record, and its copy where it is a
// keeper. Its methods may be called from any goroutine.
type Quorum struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex
	file   memo
	is     view
	keeper *keeper // nil: no copy here
	closed bool
	reign  reign
	orphan time.Time // since when the copy here has no leader

	leaves atomic.Bool // this node takes its leave, or has
}

const (
	recordLen = 32 // characters of a record's id
	leases    = 3  // that an owner may be silent
)

// Open reads what this node knows of the record and opens its copy, if it has
// one.
func Open(cfg Config) (*Quorum, error) {
	if cfg.Dir == "" || cfg.Self == "" || cfg.Post == nil || cfg.Streams == nil || cfg.Live == nil {
		return nil, errors.New("quorum: a part is missing in Config")
	}
	if cfg.Revoked == nil {
		cfg.Revoked = func(identity.ID) bool { return false }
	}
	if cfg.Lease <= 0 {
		cfg.Lease = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	q := &Quorum{cfg: cfg, log: cfg.Logger}
	if err := q.read(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, logFile)); err == nil || q.file.Forming {
		if err := q.openCopy(nil); err != nil {
			return nil, err
		}
	}
	bus.Answer(cfg.Post, typeRecord, q.answer)
	cfg.Streams.Handle(protocol, q.hear)
	return q, nil
}

// Run tends the record until ctx ends, and returns nil then.
func (q *Quorum) Run(ctx context.Context) error {
	tick := time.NewTicker(q.pace())
	defer tick.Stop()
	for {
		q.tend(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Close ends this node's part in the record; calling it twice is safe.
func (q *Quorum) Close() error {
	q.cfg.Streams.Handle(protocol, nil)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	if q.keeper == nil {
		return nil
	}
	return q.keeper.close()
}

// pulse is the silence after which a leader is replaced: a machine that is slow
// for a moment must not be taken for a dead one. pace is how often each
// node looks whether something is to be done. Both follow the lease.
func (q *Quorum) pulse() time.Duration {
	return min(max(q.cfg.Lease/6, 500*time.Millisecond), 5*time.Second)
}

func (q *Quorum) pace() time.Duration { return min(q.pulse()/2, time.Second) }

// tend does what is due at this node.
func (q *Quorum) tend(ctx context.Context) {
	k := q.copy()
	if k == nil {
		q.form(ctx)
		return
	}
	q.note(k.view())
	if !q.leads(ctx, k) {
		q.recover(ctx, k)
		return
	}
	q.tendVoters(ctx, k)
	q.tendOwners(ctx, k)
}

// form begins the domain's record at its founder, when there are others to
// keep it and none of them knows of one.
func (q *Quorum) form(ctx context.Context) {
	if !q.cfg.Founder || q.record() != "" {
		return
	}
	live := q.cfg.Live()
	if len(live) < wire.MinKeepers-1 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, q.pulse())
	defer cancel()
	asked := 0
	for _, id := range live[:min(len(live), wire.MaxKeepers)] {
		if _, err := q.ask(ctx, id, call{}); err == nil {
			asked++
		}
	}
	if asked < wire.MinKeepers-1 || q.record() != "" {
		return
	}
	id := make([]byte, recordLen/2)
	_, _ = rand.Read(id) // never fails
	q.mu.Lock()
	q.file.Record, q.file.Forming = hex.EncodeToString(id), true
	err := q.write()
	if err == nil {
		err = q.openCopyLocked(nil)
	}
	q.mu.Unlock()
	if err != nil {
		q.log.Error("the record of jobs cannot be begun", "err", err)
		return
	}
	q.log.Info("the record of the domain's jobs begins", "record", hex.EncodeToString(id))
}

// openCopy opens this node's copy unless it is open.
func (q *Quorum) openCopy(recover []identity.ID) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.openCopyLocked(recover)
}

func (q *Quorum) openCopyLocked(recover []identity.ID) error {
	if q.keeper != nil || q.closed {
		return nil
	}
	k, err := openKeeper(keeperConfig{
		dir: q.cfg.Dir, self: q.cfg.Self, record: q.file.Record, streams: q.cfg.Streams, pulse: q.pulse(), log: q.log, recover: recover,
	})
	if err != nil {
		return err
	}
	q.keeper = k
	if !q.file.Forming {
		return nil
	}
	_ = k.BootstrapCluster(voters([]identity.ID{q.cfg.Self})).Error() // it was, if this fails
	q.file.Forming = false
	return q.write()
}

// hear takes a stream of another keeper. Who is spoken to has been chosen, and
// has heard of the chooser when it gave its signs of life.
func (q *Quorum) hear(ctx context.Context, s bus.Stream) {
	record, err := greeted(s)
	if err == nil && !q.hearsOf(s.Peer()) {
		err = errors.New("it is no keeper, as far as this node knows")
	}
	if err == nil {
		err = q.adopt(record)
	}
	if err == nil {
		err = q.openCopy(nil)
	}
	if err != nil {
		q.log.Warn("keeper refused", "node", s.Peer().Short(), "err", err)
		_ = s.Reset()
		return
	}
	if k := q.copy(); k != nil {
		k.layer.take(ctx, s)
	}
}

// hearsOf reports whether a member is a keeper by what was heard, or by the copy.
func (q *Quorum) hearsOf(id identity.ID) bool {
	if q.keeps(id) {
		return true
	}
	k := q.copy()
	return k != nil && slices.Contains(k.view().Voters, id)
}

// adopt notes which record is the domain's. It is never another one.
func (q *Quorum) adopt(record string) error {
	if err := checkRecord(record); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.file.Record == record:
		return nil
	case q.file.Record != "":
		return fmt.Errorf("it is of the record %s, this domain's is %s", record, q.file.Record)
	}
	q.file.Record = record
	return q.write()
}

// note takes a newer view over.
func (q *Quorum) note(v view) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if v.compare(q.is) < 0 || len(v.Voters) == 0 {
		return
	}
	moved := v.compare(q.is) > 0
	if q.is = v; moved {
		if err := q.write(); err != nil {
			q.log.Warn("what is known of the keepers is not saved", "err", err)
		}
	}
}

// Keepers returns who keeps the record, as far as this node knows.
func (q *Quorum) Keepers() wire.Keepers {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.is.keepers(q.file.Record)
}

func (q *Quorum) record() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.file.Record
}

func (q *Quorum) copy() *keeper {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	return q.keeper
}
