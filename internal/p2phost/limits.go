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
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/libp2p/go-yamux/v5"
	"github.com/pbnjay/memory"
)

// Limits bound what peers can make this host hold. A zero field means its
// default.
type Limits struct {
	// Memory is that of all connections and streams together, in bytes: what they
	// may hold for slow readers. Half of it is one peer's. Default an eighth of the
	// machine's, whatever bound a container may have: 32 MiB at least and 256 MiB at
	// most.
	Memory  int64
	Members int // how many members are kept connected; default 64, or as many as have four streams each
	Conns   int // open at once, those that still shake hands included; default 192
	// Streams are open at once by one peer, of one protocol or several, and at most
	// as many as half of a peer's memory has room for. Default 256.
	Streams int
	// CircuitBytes, both ways together, and CircuitTime end a connection that
	// is relayed here; its ends make a new one. Default 16 GiB, more than the
	// largest input, and 2 h.
	CircuitBytes int64
	CircuitTime  time.Duration
	// KeepAlive is between two signs of life that a connection is asked for.
	// One that does not come within 10 s, or KeepAlive where that is less, ends
	// the connection, as does what cannot be sent for so long. Default 15 s:
	// a path that swallows all is left in 25 s.
	KeepAlive time.Duration
}

func (l Limits) withDefaults() Limits {
	l.Memory = cmp.Or(l.Memory, min(max(int64(memory.TotalMemory()/8), 32<<20), 256<<20))
	l.Members = cmp.Or(l.Members, min(64, streamsOf(l.Memory)/4))
	l.Conns = cmp.Or(l.Conns, 192)
	l.Streams = cmp.Or(l.Streams, 256)
	l.CircuitBytes = cmp.Or(l.CircuitBytes, 16<<30)
	l.CircuitTime = cmp.Or(l.CircuitTime, 2*time.Hour)
	l.KeepAlive = cmp.Or(l.KeepAlive, 15*time.Second)
	return l
}

// A stranger without the key can hold a connection for as long as a handshake
// may take. So there are bounds that leave room for others: of those that come
// in, fewer than may shake hands in all, so that this host can always call
// itself; and of each address, fewer than may come in.
const (
	transientConns   = 48
	transientInbound = 32
	// handshakesPerAddress is how many of them one address may have.
	handshakesPerAddress = 12
	// addressBurst and addressRate bound the new connections with one address,
	// at once and per second: what handshakes cost, not how many wait.
	addressBurst = 64
	addressRate  = 5
	// connsPerAddress is how many open connections one address may have:
	// members behind one NAT share theirs. Loopback has no bound but the total.
	connsPerAddress = 64
)

// acceptTimeout is how long a handshake of somebody who connects may take. It
// is a variable for tests.
var acceptTimeout = 8 * time.Second

// connsPerPeer leaves room for both sides dialling at once, over a relay and
// directly.
const connsPerPeer = 4

// transientMemory is for those who still shake hands.
const transientMemory = 8 << 20

// streamMemory is what yamux reserves for a stream as it begins.
const streamMemory = 256 << 10

// streamsOf is how many streams fit into memory. Windows that grow may take half
// of it. Streams have to come to their own bound first: where yamux is refused
// memory for one, it ends the connection with all that it carries, or loses a
// place for new ones.
func streamsOf(memory int64) int { return int(memory / 2 / streamMemory) }

func (l Limits) manager() (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	ofPeer := l.Memory / 2
	conns, streams, perPeer := rcmgr.LimitVal(l.Conns), rcmgr.LimitVal(streamsOf(l.Memory)), rcmgr.LimitVal(min(l.Streams, streamsOf(ofPeer)))
	partial := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: conns, ConnsInbound: conns, ConnsOutbound: conns, FD: conns, Memory: rcmgr.LimitVal64(l.Memory),
			Streams: streams, StreamsInbound: streams, StreamsOutbound: streams,
		},
		Transient: rcmgr.ResourceLimits{
			Conns: transientConns, ConnsInbound: transientInbound, ConnsOutbound: transientConns, FD: transientConns,
			Memory: transientMemory,
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: connsPerPeer, ConnsInbound: connsPerPeer, ConnsOutbound: connsPerPeer, FD: connsPerPeer,
			Streams: perPeer, StreamsInbound: perPeer, StreamsOutbound: perPeer, Memory: rcmgr.LimitVal64(ofPeer),
		},
		Conn:                rcmgr.ResourceLimits{Memory: rcmgr.LimitVal64(ofPeer)},
		ProtocolDefault:     rcmgr.ResourceLimits{Streams: streams, StreamsInbound: streams, StreamsOutbound: streams},
		ProtocolPeerDefault: rcmgr.ResourceLimits{Streams: perPeer, StreamsInbound: perPeer, StreamsOutbound: perPeer},
	}
	concrete := partial.Build(scaling.Scale(l.Memory, l.Conns))
	one := connsPerAddress
	m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(concrete), rcmgr.WithMetricsDisabled(), rcmgr.WithConnRateLimiters(addressLimiter()),
		rcmgr.WithNetworkPrefixLimit(
			[]rcmgr.NetworkPrefixLimit{{Network: loopback4, ConnCount: math.MaxInt}},
			[]rcmgr.NetworkPrefixLimit{{Network: loopback6, ConnCount: math.MaxInt}}),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: one}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: one}, {PrefixLength: 48, ConnCount: 2 * one}}))
	return &strangers{ResourceManager: m, waiting: map[netip.Prefix]int{}}, err
}

var loopback4, loopback6 = netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")

func addressLimiter() *rate.Limiter {
	one := rate.Limit{RPS: addressRate, Burst: addressBurst}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{{Prefix: loopback4}, {Prefix: loopback6}},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: one}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: one}, {PrefixLength: 48, Limit: one}},
			GracePeriod:      time.Minute,
		},
	}
}

// connections closes the least used ones above half of what is possible.
func (l Limits) connections() (*connmgr.BasicConnMgr, error) {
	return connmgr.NewConnManager(l.Conns/2, l.Conns*3/4, connmgr.WithGracePeriod(30*time.Second))
}

// muxer is yamux with windows that fit the memory of a small machine.
func (l Limits) muxer() *yamuxer.Transport {
	cfg := yamux.DefaultConfig()
	cfg.KeepAliveInterval, cfg.ConnectionWriteTimeout = l.KeepAlive, min(l.KeepAlive, 10*time.Second)
	cfg.MaxStreamWindowSize = 4 << 20
	cfg.LogOutput = io.Discard
	cfg.ReadBufSize = 0                    // Noise buffers already
	cfg.MaxIncomingStreams = math.MaxInt32 // the resource manager bounds them
	return (*yamuxer.Transport)(cfg)
}
