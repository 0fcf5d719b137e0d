package quorum

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const (
	logFile      = "record.db"     // Raft's log and vote
	snapshots    = 2               // that are kept
	snapshotFrom = 2048            // entries of the log
	trailing     = 512             // entries that are kept behind a snapshot
	applyFor     = 5 * time.Second // until Raft takes up what it is asked
	settleFor    = 3 * applyFor    // until that is done
)

// keeper is this node's copy of the record, and its vote.
type keeper struct {
	*raft.Raft
	machine *machine
	layer   *layer
	trans   *raft.NetworkTransport
	disk    *raftboltdb.BoltStore
	ballot  *ballot
	pending pending
	log     *slog.Logger
}

// keeperConfig is what a keeper is made of.
type keeperConfig struct {
	dir     string
	self    identity.ID
	record  string
	streams bus.Streams
	pulse   time.Duration // silence of the leader after which another is elected
	log     *slog.Logger
	recover []identity.ID // the only voters from now on; nil = as the log says
}

// openKeeper opens the copy in a directory, which is empty at first.
func openKeeper(c keeperConfig) (k *keeper, err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	log := quiet(c.log)
	k = &keeper{machine: newMachine(), layer: newLayer(c.streams, c.self, c.record), log: c.log}
	k.disk, err = raftboltdb.New(raftboltdb.Options{Path: filepath.Join(c.dir, logFile)})
	if err != nil {
		return nil, fmt.Errorf("open the record's log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.disk.Close())
		}
	}()
	k.ballot = &ballot{StableStore: k.disk, log: c.log, done: make(chan struct{})}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(c.dir, snapshots, log)
	if err != nil {
		return nil, fmt.Errorf("open the record's snapshots: %w", err)
	}
	k.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: k.layer, MaxPool: 2, Timeout: max(2*c.pulse, time.Second), Logger: log,
		MaxRPCsInFlight: 1, // pipelines can wait for themselves for ever (hashicorp/raft issue 612)
	})
	conf := c.raft(log)
	if c.recover != nil {
		if err := raft.RecoverCluster(conf, newMachine(), k.disk, k.disk, snaps, k.trans, voters(c.recover)); err != nil {
			return nil, errors.Join(fmt.Errorf("recover the record: %w", err), k.trans.Close())
		}
	}
	if k.Raft, err = raft.NewRaft(conf, k.machine, k.disk, k.ballot, snaps, k.trans); err != nil {
		return nil, errors.Join(fmt.Errorf("open the record: %w", err), k.trans.Close())
	}
	return k, nil
}

func (c keeperConfig) raft(log hclog.Logger) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.self)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = c.pulse, c.pulse, c.pulse/2
	conf.CommitTimeout = c.pulse / 4 // also how often an idle leader sends what was committed
	conf.SnapshotThreshold, conf.TrailingLogs, conf.SnapshotInterval = snapshotFrom, trailing, time.Minute
	conf.ShutdownOnRemove = false
	conf.NoLegacyTelemetry = true
	conf.Logger = log
	return conf
}

func voters(ids []identity.ID) (c raft.Configuration) {
	for _, id := range ids {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	return c
}

func (k *keeper) close() error {
	close(k.ballot.done)
	err := errors.Join(k.Shutdown().Error(), k.trans.Close())
	k.layer.wait()
	if n := k.pending.close(); n > 0 {
		k.log.Debug("Raft has closed without an answer", "asked", n)
	}
	return errors.Join(err, k.disk.Close())
}

// view is what this copy knows of the keepers. It says how new that is.
func (k *keeper) view() (v view) {
	f := k.GetConfiguration()
	if f.Error() != nil {
		return v
	}
	v.Term, v.Index = k.CurrentTerm(), f.Index()
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			v.Voters = append(v.Voters, identity.ID(s.ID))
		}
	}
	_, id := k.LeaderWithID()
	v.Leader = identity.ID(id)
	return v
}

// apply commits a command on a majority of the keepers. errNotLeader says that
// it is for another one to do, and may have been done.
func (k *keeper) apply(ctx context.Context, c command) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode log entry: %w", err)
	}
	if len(b) > maxEntry {
		return jobspec.KindLimit.Errorf("an entry of the record has %d bytes, at most %d are possible", len(b), maxEntry)
	}
	if k.ballot.stuck.Load() {
		return fmt.Errorf("%w: its disk takes nothing", errNotLeader)
	}
	var f raft.ApplyFuture
	if err := k.pending.settled(ctx, func() raft.Future { f = k.Apply(b, applyFor); return f }); err != nil {
		return fmt.Errorf("%w: %w", errNotLeader, err)
	}
	if refused, ok := f.Response().(jobspec.Failure); ok {
		return refused.Error()
	}
	return nil
}

// errNotLeader says that this node cannot decide now.
var errNotLeader = errors.New("this keeper does not lead")

// quiet makes Raft's log a debug log of the node: what matters of it is told
// by who uses it.
func quiet(log *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: slogWriter{log}, DisableTime: true})
}

type slogWriter struct{ log *slog.Logger }

var _ io.Writer = slogWriter{}

func (w slogWriter) Write(p []byte) (int, error) {
	w.log.Debug("raft", "said", string(p[:max(0, len(p)-1)]))
	return len(p), nil
}

// view is what a node knows of the keepers. Of two views that of the later term
// is newer, then the one with the larger index.
type view struct {
	Voters []identity.ID `json:"voters,omitempty"`
	Leader identity.ID   `json:"leader,omitempty"`
	Term   uint64        `json:"term,omitempty"`
	Index  uint64        `json:"index,omitempty"` // of the log, where the voters were written
}

func (v view) compare(w view) int {
	return cmp.Or(cmp.Compare(v.Term, w.Term), cmp.Compare(v.Index, w.Index))
}

func (v view) keepers(record string) wire.Keepers {
	return wire.Keepers{Record: record, Voters: v.Voters, Leader: v.Leader}
}
