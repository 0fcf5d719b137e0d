package main

import (
	"path/filepath"

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
