package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Advert is what a member of a domain says of itself on the bus.
type Advert struct {
	Version  string            `json:"version"`            // of ipdc
	Arch     string            `json:"arch"`               // of its containers: "amd64"
	Capacity Capacity          `json:"capacity"`           // of all tasks together
	Free     Capacity          `json:"free"`               // what no task holds
	Labels   map[string]string `json:"labels,omitempty"`   // setting "labels"
	Held     jobspec.Bytes     `json:"held_bytes"`         // of blocks that are stored there
	Addrs    []string          `json:"addrs,omitempty"`    // multiaddrs by which other members reach it
	Strict   string            `json:"strict,omitempty"`   // what gives strict jobs a kernel of their own there
	Draining bool              `json:"draining,omitempty"` // it takes nothing new
	Busy     bool              `json:"busy,omitempty"`     // it begins one task at a time, as other programs use the machine
	Started  int64             `json:"started"`            // when the node was started, in seconds since 1970
}

// PeerList is the answer of GET /v1/peers, by id: the other members of the
// node's domain that were heard lately or are connected.
type PeerList struct {
	Peers []Peer `json:"peers"`
}

// Peer is another member of the node's domain, in its own words but for what
// this node measures itself.
type Peer struct {
	ID        string            `json:"id"`                // peer id
	Connected bool              `json:"connected"`         // now
	Relayed   bool              `json:"relayed,omitempty"` // by way of another member only
	Latency   jobspec.Duration  `json:"latency,omitempty"` // of the last ping; 0 = not measured
	Addrs     []string          `json:"addrs"`             // of its connections, else those that it tells
	Version   string            `json:"version"`           // "" = it has told nothing yet
	Arch      string            `json:"arch"`
	Capacity  Capacity          `json:"capacity"`
	Free      Capacity          `json:"free"`
	Labels    map[string]string `json:"labels,omitempty"`
	Held      jobspec.Bytes     `json:"held_bytes"`
	Strict    string            `json:"strict,omitempty"`   // what gives strict jobs a kernel of their own there: "runsc"
	Draining  bool              `json:"draining,omitempty"` // it takes nothing new
	Started   time.Time         `json:"started,omitzero"`   // by its clock
	Seen      time.Time         `json:"seen,omitzero"`      // when it last told of itself, by this node's clock
}

// ProbeList is the answer of POST /v1/peers/probe, by id.
type ProbeList struct {
	Probes []Probe `json:"probes"`
}

// Probe is what became of a random block that was moved to a member, and of
// another one that was moved back.
type Probe struct {
	ID      string           `json:"id"`
	Bytes   int64            `json:"bytes"`             // of each block
	There   jobspec.Duration `json:"there,omitempty"`   // until the member had ours, its answer included; 0 = it did not get it
	Back    jobspec.Duration `json:"back,omitempty"`    // until we had the member's; 0 = we did not get it
	Problem string           `json:"problem,omitempty"` // why one of them is 0
}
