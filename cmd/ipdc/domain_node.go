package main

import (
	"time"

	"github.com/ipdc/ipdc/domain"
)

// enterDomain makes or reads the domain that the node is in.
func (n *node) enterDomain() (err error) {
	n.doorway = n.newDoorway(time.Now)
	if n.member, err = n.doorway.files.Born(n.key.ID(), hostName(), time.Now()); err != nil {
		return err
	}
	n.log.Info("domain", "name", n.member.Name, "id", n.member.ID(), "generation", n.member.List.Generation, "role", n.member.Certificate.Role)
	return nil
}

// memberAddrs are the addresses of members that a newcomer is told.
func (n *node) memberAddrs() []domain.Addr {
	if n.swarm == nil {
		return nil
	}
	return n.swarm.addrs()
}
