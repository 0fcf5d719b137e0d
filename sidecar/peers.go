package sidecar

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ipdc/ipdc/identity"
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
	r.port, err = r.gangs.Open(dir, r.gang(), trafficOf(&r.att).peers, r.log.With("attempt", r.att.ID))
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

// maxGangID bounds the id of a gang's generation, in characters.
const maxGangID = 64

// checkPeers holds what an owner says of a gang against the task's spec: the
// task is there under its name, with its port, and at this node.
func (s *Sidecar) checkPeers(spec jobspec.Spec, t jobspec.Task, p *jobspec.Peers) error {
	if spec.Gang == nil && p == nil {
		return nil
	}
	bad := func(format string, a ...any) error { return jobspec.KindSpec.Errorf("the task's gang "+format, a...) }
	if spec.Gang == nil || p == nil {
		return bad("is said by the spec alone, or by the assignment alone")
	}
	want := spec.Gang.Tasks()
	switch {
	case len(p.Tasks) != len(want):
		return bad("has %d tasks, want %d", len(p.Tasks), len(want))
	case p.Self < 0 || p.Self >= len(want):
		return bad("is to have it as number %d, of 0 to %d", p.Self, len(want)-1)
	case p.Generation < 1:
		return bad("is of generation %d, want 1 or more", p.Generation)
	case p.Gang == "" || len(p.Gang) > maxGangID:
		return bad("has an id of %d characters, want 1 to %d", len(p.Gang), maxGangID)
	}
	for i, w := range want {
		if got := p.Tasks[i]; got.Name != w.Name || got.Role != w.Role || got.Port != w.Port {
			return bad("has %.80q at port %d, want %s at port %d", got.Name, got.Port, w.Name, w.Port)
		}
		if _, err := identity.ParseID(p.Tasks[i].Node); err != nil {
			return bad("has %s at no member", w.Name)
		}
	}
	if self := p.Tasks[p.Self]; self.Name != t.Name || self.Node != s.id.String() {
		return bad("has the task %.80q elsewhere", t.Name)
	}
	return nil
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
		guest.EnvCheckpoint + "=" + guest.Checkpoint,
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
