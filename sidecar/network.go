package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ipdc/ipdc/jobspec"
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

// wayOut is an attempt's open proxy.
type wayOut struct {
	*proxy.Proxy
	unfollow func() // ends the keeping of its usage; nil until it has begun
}

// openNetwork opens the way out of the container whose run directory is dir,
// and puts a copy of the host's certificate authorities there: its own file
// may be one that only root reads, or one that the engine's host does not have.
func (s *Sidecar) openNetwork(dir string, grants []jobspec.Endpoint, before proxy.Usage, log *slog.Logger) (*wayOut, error) {
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
	p, err := proxy.Open(filepath.Join(dir, netDir), grants, cfg)
	if err != nil {
		return nil, err
	}
	return &wayOut{Proxy: p}, nil
}

// network opens the attempt's ways: to the other tasks of its gang, and out,
// unless they are open or none was granted. After a restart the socket is made anew where the container looks for it,
// and the limit goes on where it was.
func (r *runner) network() (err error) {
	if err := r.openPeers(); err != nil {
		return err
	}
	grants := r.job.Spec.Endpoints()
	if len(grants) == 0 {
		return nil
	}
	if r.net == nil {
		before := proxy.Usage{In: r.att.NetIn, Out: r.att.NetOut}
		r.net, err = r.openNetwork(r.runDir(r.att.ID), grants, before, r.log.With("attempt", r.att.ID))
		if err != nil {
			return err
		}
	}
	// Not earlier: until then each step writes the whole record.
	if r.net.unfollow == nil && r.att.State == jobspec.AttemptRunning {
		r.followNetwork()
	}
	return nil
}

// followNetwork keeps what the running program moves until closeNetwork, so
// that a killed node forgets no more than came in the last moment.
func (r *runner) followNetwork() {
	ctx, cancel := context.WithCancel(r.keep())
	done := make(chan struct{})
	p, id := r.net.Proxy, r.att.ID
	kept := proxy.Usage{In: r.att.NetIn, Out: r.att.NetOut} // in the record; more may have moved since
	r.net.unfollow = func() { cancel(); <-done }
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
			now := p.Usage()
			if now.In == kept.In && now.Out == kept.Out {
				continue
			}
			if err := r.keepUsage(ctx, id, now.In, now.Out); err == nil {
				kept = now
			} else if ctx.Err() == nil {
				r.log.Warn("keep network usage", "attempt", id, "err", err)
			}
		}
	})
}

// keepUsage writes what an attempt moved into its record, and nothing else.
func (r *runner) keepUsage(ctx context.Context, id jobspec.AttemptID, in, out jobspec.Bytes) error {
	return r.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Attempt(id)
		if err != nil {
			return err
		}
		row.NetIn, row.NetOut = in, out
		return tx.PutAttempt(row)
	})
}

// suspendNetwork closes the way out while the node is away, and keeps what was
// counted for the next process. A step that was cut may have closed it already.
func (r *runner) suspendNetwork() {
	if len(r.job.Spec.Network) == 0 {
		return
	}
	r.closeNetwork()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.keep()), 10*time.Second)
	defer cancel()
	if err := r.keepUsage(ctx, r.att.ID, r.att.NetIn, r.att.NetOut); err != nil {
		r.log.Warn("keep network usage", "attempt", r.att.ID, "err", err)
	}
}

// closeNetwork ends the attempt's connections and notes what they moved.
func (r *runner) closeNetwork() {
	if r.net == nil {
		return
	}
	if err := r.net.Close(); err != nil {
		r.log.Warn("close network", "attempt", r.att.ID, "err", err)
	}
	if r.net.unfollow != nil {
		r.net.unfollow()
	}
	u := r.net.Usage()
	r.att.NetIn, r.att.NetOut, r.net = u.In, u.Out, nil
}
