package p2phost

import (
	"cmp"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	yamuxer "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-yamux/v5"
)

// Limits bound what peers can make this host hold. The defaults fit a machine
// of 128 MB; a zero field means its default.
type Limits struct {
	Memory  int64 // of all connections and streams, in bytes; default 32 MiB
	Members int   // how many members are kept connected; default 64
	Conns   int   // open at once, those that still shake hands included; default 192
	Streams int   // open at once by one peer; default 256
}

func (l Limits) withDefaults() Limits {
	l.Memory = cmp.Or(l.Memory, 32<<20)
	l.Members = cmp.Or(l.Members, 64)
	l.Conns = cmp.Or(l.Conns, 192)
	l.Streams = cmp.Or(l.Streams, 256)
	return l
}

// transientConns is how many connections may be in their handshakes.
const transientConns = 48

// connsPerAddress is how many connections one address may have: members
// behind one NAT share theirs. Loopback has no bound but the total.
const connsPerAddress = 64

// connsPerPeer leaves room for both sides dialling at once, over a relay and
// directly.
const connsPerPeer = 4

func (l Limits) manager() (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	conns, streams, perPeer := rcmgr.LimitVal(l.Conns), rcmgr.LimitVal(8*l.Streams), rcmgr.LimitVal(l.Streams)
	partial := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: conns, ConnsInbound: conns, ConnsOutbound: conns, FD: conns, Memory: rcmgr.LimitVal64(l.Memory),
			Streams: streams, StreamsInbound: streams, StreamsOutbound: streams,
		},
		Transient: rcmgr.ResourceLimits{
			Conns: transientConns, ConnsInbound: transientConns, ConnsOutbound: transientConns, FD: transientConns,
			Memory: rcmgr.LimitVal64(l.Memory / 4),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: connsPerPeer, ConnsInbound: connsPerPeer, ConnsOutbound: connsPerPeer, FD: connsPerPeer,
			Streams: perPeer, StreamsInbound: perPeer, StreamsOutbound: perPeer, Memory: rcmgr.LimitVal64(l.Memory / 2),
		},
	}
	concrete := partial.Build(scaling.Scale(l.Memory, l.Conns))
	one := connsPerAddress
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(concrete), rcmgr.WithMetricsDisabled(),
		rcmgr.WithNetworkPrefixLimit(
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("127.0.0.0/8"), ConnCount: math.MaxInt}},
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("::1/128"), ConnCount: math.MaxInt}}),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: one}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: one}, {PrefixLength: 48, ConnCount: 2 * one}}))
}

// connections closes the least used ones above half of what is possible.
func (l Limits) connections() (*connmgr.BasicConnMgr, error) {
	return connmgr.NewConnManager(l.Conns/2, l.Conns*3/4, connmgr.WithGracePeriod(30*time.Second))
}

// muxer is yamux with windows that fit the memory of a small machine.
func muxer() *yamuxer.Transport {
	cfg := yamux.DefaultConfig()
	cfg.MaxStreamWindowSize = 4 << 20
	cfg.LogOutput = io.Discard
	cfg.ReadBufSize = 0                    // Noise buffers already
	cfg.MaxIncomingStreams = math.MaxInt32 // the resource manager bounds them
	return (*yamuxer.Transport)(cfg)
}
