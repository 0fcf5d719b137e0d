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

// OnConnect refuses what no client of ours sends, before its password is read.
func (g *guard) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	why := ""
	switch {
	case pk.ProtocolVersion != 4:
		why = "only MQTT 3.1.1 is spoken"
	case string(pk.Connect.Username) != cl.ID:
		why = "client id and user name differ"
	case pk.Connect.WillFlag && (pk.Connect.WillTopic != g.topics.Gone(identity.ID(cl.ID)) || pk.Connect.WillRetain || len(pk.Connect.WillPayload) > 16):
		why = "a will that is not the one of a member"
	}
	if _, err := identity.ParseID(cl.ID); err != nil && why == "" {
		why = "the client id is no peer id"
	}
	if why != "" {
		g.refused.Add(1)
		g.cfg.Logger.Debug("connection refused", "remote", cl.Net.Remote, "err", why)
		return errors.New(why)
	}
	if cl.State.Keepalive == 0 || cl.State.Keepalive > maxKeepalive {
		cl.State.Keepalive = maxKeepalive
	}
	return nil
}

// OnConnectAuthenticate lets members in.
func (g *guard) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	err := layout.CheckPass(g.cfg.Domain, g.cfg.Roster, identity.ID(cl.ID), pk.Connect.Password, g.cfg.Now())
	if err != nil {
		g.refused.Add(1)
		g.cfg.Logger.Debug("connection refused", "node", identity.ID(cl.ID).Short(), "remote", cl.Net.Remote, "err", err)
	}
	return err == nil
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
