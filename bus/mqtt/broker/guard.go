package broker

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/ipdc/ipdc/bus/mqtt/internal/layout"
	"github.com/ipdc/ipdc/identity"
)

// guard decides who connects and which topics a client may use.
type guard struct {
	mochi.HookBase
	cfg             Config
	topics          layout.Topics
	refused, denied atomic.Int64

	mu    sync.Mutex
	known map[*mochi.Client][]byte // connected members with the certificate that each showed
}

func newGuard(cfg Config) *guard {
	return &guard{cfg: cfg, topics: layout.Of(cfg.Domain), known: map[*mochi.Client][]byte{}}
}

// ID names the hook.
func (g *guard) ID() string { return "ipdc" }

// Provides lists what the hook decides.
func (g *guard) Provides(b byte) bool {
	return slices.Contains([]byte{mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnSubscribe, mochi.OnACLCheck, mochi.OnPublish}, b)
}

// OnConnect refuses other protocols, before anything else is read.
func (g *guard) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	if pk.ProtocolVersion != 4 {
		return g.refuse(cl, errors.New("only MQTT 3.1.1 is spoken"))
	}
	if cl.State.Keepalive == 0 || cl.State.Keepalive > maxKeepalive {
		cl.State.Keepalive = maxKeepalive
	}
	return nil
}

// OnConnectAuthenticate lets members in, and answers the others that they are
// not. Whoever is in already by this name leaves first: the server knows its
// clients by name, and one that ends after the new one has come would remove that
// one's entry.
func (g *guard) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	certificate, err := g.check(cl.ID, pk.Connect)
	if err != nil {
		return g.refuse(cl, err) == nil
	}
	countedOf(cl.Net.Conn).forget = func() { g.forget(cl) }
	for _, older := range g.enter(cl, certificate) {
		older.Stop(packets.ErrSessionTakenOver)
		<-countedOf(older.Net.Conn).served
	}
	admit(cl.Net.Conn)
	return true
}

// enter notes a client, and returns those that have its name already.
func (g *guard) enter(cl *mochi.Client, certificate []byte) (older []*mochi.Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for other := range g.known {
		if other.ID == cl.ID {
			older = append(older, other)
		}
	}
	g.known[cl] = certificate
	return older
}

// forget is for a client that the server has done with, and not before.
func (g *guard) forget(cl *mochi.Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.known, cl)
}

// recheck ends the connections of those who are no members any more.
func (g *guard) recheck() {
	g.mu.Lock()
	var all []*mochi.Client
	for cl := range g.known {
		if !cl.Closed() {
			all = append(all, cl)
		}
	}
	g.mu.Unlock()
	for _, cl := range all {
		g.still(cl)
	}
}

// still reports whether a client is a member now, and ends its connection when
// not: a certificate can expire or be revoked at any time.
func (g *guard) still(cl *mochi.Client) bool {
	g.mu.Lock()
	certificate, ok := g.known[cl]
	g.mu.Unlock()
	if !ok {
		return false
	}
	err := g.cfg.Roster.Check(identity.ID(cl.ID), certificate, g.cfg.Now())
	if err != nil {
		g.cfg.Logger.Info("connection ended: no member any more", "node", identity.ID(cl.ID).Short(), "err", err)
		cl.Stop(err)
	}
	return err == nil
}

func (g *guard) refuse(cl *mochi.Client, err error) error {
	g.refused.Add(1)
	g.cfg.Logger.Debug("connection refused", "node", identity.ID(cl.ID).Short(), "remote", cl.Net.Remote, "err", err)
	return err
}

func (g *guard) check(client string, c packets.ConnectParams) (certificate []byte, err error) {
	id, err := identity.ParseID(client)
	switch {
	case err != nil:
		return nil, err
	case string(c.Username) != client:
		return nil, errors.New("client id and user name differ")
	case !c.Clean:
		return nil, errors.New("no session is kept for clients that are away")
	case c.WillFlag && (c.WillTopic != g.topics.Gone(id) || c.WillRetain || len(c.WillPayload) > 16):
		return nil, errors.New("a will that is not the one of a member")
	}
	return layout.CheckPass(g.cfg.Domain, g.cfg.Roster, id, c.Password, g.cfg.Now())
}

// nowhere is a filter that the broker refuses to subscribe to.
const nowhere = "#/#"

// OnSubscribe refuses filters that are not those of the layout, and lowers the
// others to QoS 0: without sessions an acknowledgement brings nothing, and for
// its number the broker waits until the client has read what came before,
// every publisher with it.
func (g *guard) OnSubscribe(cl *mochi.Client, pk packets.Packet) packets.Packet {
	pk.Filters = slices.Clone(pk.Filters)
	for i, f := range pk.Filters {
		pk.Filters[i].Qos = 0
		if !g.topics.MaySubscribe(identity.ID(cl.ID), f.Filter) {
			pk.Filters[i].Filter = nowhere
			g.denied.Add(1)
		}
	}
	return pk
}

// OnACLCheck holds a client to its own name and inbox, at each message that it
// sends or would be given, and at each filter that OnSubscribe left.
func (g *guard) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	id, ok := identity.ID(cl.ID), false
	if write {
		ok, _ = g.topics.MayPublish(id, topic)
	} else {
		ok = g.topics.MayRead(id, topic) || g.topics.MaySubscribe(id, topic)
	}
	ok = ok && g.still(cl)
	if !ok {
		g.denied.Add(1)
	}
	return ok
}

// OnPublish refuses to retain commands.
func (g *guard) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if _, retain := g.topics.MayPublish(identity.ID(cl.ID), pk.TopicName); pk.FixedHeader.Retain && !retain {
		g.denied.Add(1)
		return pk, packets.ErrRejectPacket
	}
	return pk, nil
}
