package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/sidecar/proxy"
	"github.com/ipdc/ipdc/store"
)

// Names in the run directory of a container with a network.
const (
	netDir = "net" // mounted; holds the proxy's socket and nothing else
	caFile = "ca.pem"
)

// checkNetwork refuses a grant that no container of this node could use.
func (s *Sidecar) checkNetwork(spec jobspec.Spec) error {
	for i, to := range spec.Endpoints() {
		if err := s.cfg.Network.Check(to); err != nil {
			return jobspec.Failure{
				Kind: jobspec.KindPolicy, Where: fmt.Sprintf("network[%d]", i), Detail: err.Error(),
				Hint: "leave it out, or let the node allow its network",
			}.Error()
		}
	}
	return nil
}

// openNetwork opens the way out of the container whose run directory is dir,
// and puts a copy of the host's certificate authorities there: its own file
// may be one that only root reads, or one that the engine's host does not have.
func (s *Sidecar) openNetwork(dir string, grants []jobspec.Endpoint, before proxy.Usage, log *slog.Logger) (*proxy.Proxy, error) {
	if s.cfg.CA != "" {
		b, err := os.ReadFile(s.cfg.CA)
		if err == nil {
			err = writeShared(filepath.Join(dir, caFile), b)
		}
		if err != nil {
			return nil, fmt.Errorf("pass on certificate authorities: %w", err)
		}
	}
	cfg := s.cfg.Network
	cfg.Logger, cfg.Before = log, before
	return proxy.Open(filepath.Join(dir, netDir), grants, cfg)
}

// traffic is what an attempt moved.
type traffic struct {
	net   proxy.Usage   // with the outside
	peers peering.Usage // with the other tasks of its gang
}

// trafficOf returns what the record says.
func trafficOf(a *jobspec.Attempt) traffic {
	return traffic{proxy.Usage{In: a.NetIn, Out: a.NetOut}, peering.Usage{In: a.PeerIn, Out: a.PeerOut}}
}

func (t traffic) note(a *jobspec.Attempt) {
	a.NetIn, a.NetOut, a.PeerIn, a.PeerOut = t.net.In, t.net.Out, t.peers.In, t.peers.Out
}

// network opens the attempt's ways: to the other tasks of its gang, and out,
// unless they are open or none was granted. After a restart their sockets are
// made anew where the container looks for them, and limits go on where they were.
func (r *runner) network() (err error) {
	if err := r.openPeers(); err != nil {
		return err
	}
	if grants := r.job.Spec.Endpoints(); len(grants) > 0 && r.net == nil {
		r.net, err = r.openNetwork(r.runDir(r.att.ID), grants, trafficOf(&r.att).net, r.log.With("attempt", r.att.ID))
		if err != nil {
			return err
		}
	}
	// Not earlier: until then each step writes the whole record.
	if r.unfollow == nil && r.att.State == jobspec.AttemptRunning && (r.net != nil || r.port != nil) {
		r.followNetwork()
	}
	return nil
}

// moving tells what the attempt moved until now, by the record and by what is open.
func (r *runner) moving() func() traffic {
	now, p, port := trafficOf(&r.att), r.net, r.port
	return func() traffic {
		if p != nil {
			now.net = p.Usage()
		}
		if port != nil {
			now.peers = port.Usage()
		}
		now.net.Refused = 0 // not in the record
		return now
	}
}

// followNetwork keeps what the running program moves until closeNetwork, so
// that a killed node forgets no more than came in the last moment.
func (r *runner) followNetwork() {
	ctx, cancel := context.WithCancel(r.keep())
	done := make(chan struct{})
	id, kept, moved := r.att.ID, trafficOf(&r.att), r.moving()
	r.unfollow = func() { cancel(); <-done }
	r.work.Go(func() {
		defer close(done)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := moved()
			if now == kept {
				continue
			}
			if err := r.keepUsage(ctx, id, now); err == nil {
				kept = now
			} else if ctx.Err() == nil {
				r.log.Warn("keep network usage", "attempt", id, "err", err)
			}
		}
	})
}

// keepUsage writes what an attempt moved into its record, and nothing else.
func (r *runner) keepUsage(ctx context.Context, id jobspec.AttemptID, t traffic) error {
	return r.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Attempt(id)
		if err != nil {
			return err
		}
		t.note(&row)
		return tx.PutAttempt(row)
	})
}

// suspendNetwork closes all ways while the node is away, and keeps what was
// counted for the next process. A step that was cut may have closed them already.
func (r *runner) suspendNetwork() {
	if len(r.job.Spec.Network) == 0 && r.att.Peers == nil {
		return
	}
	r.closeNetwork()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.keep()), 10*time.Second)
	defer cancel()
	if err := r.keepUsage(ctx, r.att.ID, trafficOf(&r.att)); err != nil {
		r.log.Warn("keep network usage", "attempt", r.att.ID, "err", err)
	}
}

// closeNetwork ends the attempt's connections and notes what they moved.
func (r *runner) closeNetwork() {
	var err error
	if r.net != nil {
		err = r.net.Close()
	}
	if r.port != nil {
		err = errors.Join(err, r.port.Close())
	}
	if err != nil {
		r.log.Warn("close network", "attempt", r.att.ID, "err", err)
	}
	if r.unfollow != nil {
		r.unfollow()
	}
	r.moving()().note(&r.att)
	r.net, r.port, r.unfollow = nil, nil, nil
}
