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

// openNetwork opens the way out of the container whose run directory is dir,
// and puts a copy of the host's certificate authorities there: its own file
// may be one that only root reads, or one that the engine's host does not have.
func (s *Sidecar) openNetwork(dir string, grants []jobspec.Endpoint, log *slog.Logger) (*proxy.Proxy, error) {
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
	cfg.Logger = log
	return proxy.Open(filepath.Join(dir, netDir), grants, cfg)
}

// network opens the attempt's way out, unless it is open or none was granted.
// After a restart the socket is made anew where the container looks for it.
func (r *runner) network() (err error) {
	grants := r.job.Spec.Endpoints()
	if len(grants) == 0 || r.net != nil {
		return nil
	}
	r.net, err = r.openNetwork(r.runDir(r.att.ID), grants, r.log.With("attempt", r.att.ID))
	return err
}

// suspendNetwork closes the way out while the node is away, and keeps what was
// counted for the next process.
func (r *runner) suspendNetwork() {
	if r.net == nil {
		return
	}
	r.closeNetwork()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.keep()), 10*time.Second)
	defer cancel()
	err := r.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Attempt(r.att.ID)
		if err != nil {
			return err
		}
		row.NetIn, row.NetOut = r.att.NetIn, r.att.NetOut
		return tx.PutAttempt(row)
	})
	if err != nil {
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
	u := r.net.Usage()
	r.att.NetIn, r.att.NetOut, r.net = r.att.NetIn+u.In, r.att.NetOut+u.Out, nil
}
