package broker

import (
	"errors"
	"slices"
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
}

func newGuard(cfg Config) *guard { return &guard{cfg: cfg, topics: layout.Of(cfg.Domain)} }

// ID names the hook.
func (g *guard) ID() string { return "ipdc" }

// Provides lists what the hook decides.
func (g *guard) Provides(b byte) bool {
	return slices.Contains([]byte{mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish}, b)
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
// not.
func (g *guard) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	if err := g.check(cl.ID, pk.Connect); err != nil {
		return g.refuse(cl, err) == nil
	}
	return true
}

func (g *guard) refuse(cl *mochi.Client, err error) error {
	g.refused.Add(1)
	g.cfg.Logger.Debug("connection refused", "node", identity.ID(cl.ID).Short(), "remote", cl.Net.Remote, "err", err)
	return err
}

func (g *guard) check(client string, c packets.ConnectParams) error {
	id, err := identity.ParseID(client)
	switch {
	case err != nil:
		return err
	case string(c.Username) != client:
		return errors.New("client id and user name differ")
	case c.WillFlag && (c.WillTopic != g.topics.Gone(id) || c.WillRetain || len(c.WillPayload) > 16):
		return errors.New("a will that is not the one of a member")
	}
	return layout.CheckPass(g.cfg.Domain, g.cfg.Roster, id, c.Password, g.cfg.Now())
}

// OnACLCheck holds a client to its own name and inbox.
func (g *guard) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	ok := false
	if write {
		ok, _ = g.topics.MayPublish(identity.ID(cl.ID), topic)
	} else {
		ok = g.topics.MayRead(identity.ID(cl.ID), topic)
	}
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
