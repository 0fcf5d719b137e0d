package sidecar

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/wire/guest"
)

// peersDir is the name in the run directory of a gang's task of what is mounted
// at guest.PeersDir.
const peersDir = "peers"

// openPeers opens the way to the other tasks of the attempt's gang, unless it is
// open or there is no gang. After a restart it is made anew where the container
// looks for it.
func (r *runner) openPeers() (err error) {
	if r.att.Peers == nil || r.port != nil {
		return nil
	}
	dir := filepath.Join(r.runDir(r.att.ID), peersDir)
	r.port, err = r.gangs.Open(dir, r.gang(), trafficOf(r.att).peers, r.log.With("attempt", r.att.ID))
	return err
}

// gang is what this node knows of the gang of its attempt.
func (r *runner) gang() peering.Gang {
	owner := r.Sidecar.id
	if o := r.job.Origin; o != nil {
		owner = ownerID(*o)
	}
	return peering.Of(owner, *r.att.Peers)
}

// peerEnv is what a gang's task is told of its gang.
func peerEnv(p *jobspec.Peers) []string {
	if p == nil {
		return nil
	}
	by := map[string][]string{}
	for _, t := range p.Tasks {
		by[t.Role] = append(by[t.Role], fmt.Sprintf("%s:%d", t.Name, t.Port))
	}
	b, _ := json.Marshal(by) // of text alone: never fails
	self := p.Tasks[p.Self]
	return []string{
		guest.EnvPeers + "=" + string(b),
		fmt.Sprintf("%s=%d", guest.EnvPeerPort, self.Port),
		guest.EnvTask + "=" + self.Name,
	}
}

// hostsOf is all that a container can look up. The engine puts an empty file in
// the place of the image's own where a container has no network.
func hostsOf(p *jobspec.Peers) string {
	names := []string{"localhost"}
	if p != nil {
		for _, t := range p.Tasks {
			names = append(names, t.Name)
		}
	}
	return "127.0.0.1 " + strings.Join(names, " ") + "\n::1 localhost\n"
}

// guestPeers is what the guest is told of the gang.
func guestPeers(p *jobspec.Peers) (list []guest.Peer, self int) {
	if p == nil {
		return nil, 0
	}
	for _, t := range p.Tasks {
		list = append(list, guest.Peer{Name: t.Name, Port: t.Port})
	}
	return list, p.Self
}
