package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/quorum"
)

// openQuorum opens this node's part in the record of the domain's jobs.
func (s *swarm) openQuorum() (err error) {
	s.quorum, err = quorum.Open(quorum.Config{
		Dir:  filepath.Join(s.set.Path, "domains", s.member.ID().String(), "keepers"),
		Self: s.key.ID(), Post: s.post, Streams: s.streams, Lease: s.set.Lease.Std(), Logger: s.log,
		Founder: s.member.IsAdmin, Joined: s.member.Certificate.NotBefore,
		Live: func() (ids []identity.ID) {
			for _, m := range s.fleet.Members() {
				ids = append(ids, m.ID)
			}
			return ids
		},
		Revoked: func(id identity.ID) bool { _, gone := s.roster.Revoked(id); return gone },
	})
	if err == nil {
		s.onClose(s.quorum.Close)
	}
	return err
}

// leaveFor bounds how long a node that leaves its domain hands its jobs on, and
// then how long it takes its leave of the keepers.
const leaveFor = 10 * time.Second

// leaveRecord hands the jobs of this node on before it leaves the domain, and
// its part in their record.
func (s *swarm) leaveRecord(ctx context.Context) {
	if !s.quorum.Keepers().Active() {
		return
	}
	if o := s.offer.Load(); o != nil {
		pass, cancel := context.WithTimeout(ctx, leaveFor)
		passed, err := o.PassJobs(pass)
		cancel()
		s.log.Info("jobs go to other members, as this node leaves the domain", "jobs", passed, "err", err)
	}
	ctx, cancel := context.WithTimeout(ctx, leaveFor)
	defer cancel()
	if err := s.quorum.Leave(ctx); err != nil {
		s.log.Warn("the keepers of the domain's jobs do not hear that this node leaves", "err", err)
	}
}
