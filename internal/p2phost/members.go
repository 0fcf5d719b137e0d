package p2phost

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"golang.org/x/sync/errgroup"
)

const (
	exchangeProtocol = "peers/1"
	exchangeTimeout  = 20 * time.Second
	dialEvery        = 5 * time.Second // between two looks at who is missing
	dialsAtOnce      = 8
)

func (h *Host) subscribe() (event.Subscription, error) {
	return h.inner.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerConnectednessChanged),
	})
}

// follow notes the addresses that members sign, and asks each that we reached
// for the others.
func (h *Host) follow(ctx context.Context, events event.Subscription) {
	defer events.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events.Out():
			switch e := e.(type) {
			case event.EvtPeerIdentificationCompleted:
				h.identified(ctx, e)
			case event.EvtPeerConnectednessChanged:
				if e.Connectedness == network.NotConnected {
					h.wake()
					h.relays.lost(e.Peer)
				} else {
					h.book.reached(e.Peer)
				}
			}
		}
	}
}

func (h *Host) identified(ctx context.Context, e event.EvtPeerIdentificationCompleted) {
	if e.SignedPeerRecord != nil {
		data, err := e.SignedPeerRecord.Marshal()
		rec, recErr := e.SignedPeerRecord.Record()
		if r, ok := rec.(*peer.PeerRecord); ok && err == nil && recErr == nil && r.PeerID == e.Peer && len(data) <= maxRecord {
			if hello, ok := h.book.hello(e.Peer); ok {
				h.book.note(r, data, hello)
			}
		}
	}
	h.relays.wake()
	if e.Conn != nil && e.Conn.Stat().Direction == network.DirOutbound {
		h.book.reachedBy(e.Peer, e.Conn.RemoteMultiaddr())
		h.running.Go(func() { h.exchange(ctx, e.Peer) })
	}
}

// wake makes keepConnected look now.
func (h *Host) wake() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// keepConnected dials members that are known and away, up to the limit.
func (h *Host) keepConnected(ctx context.Context) {
	tick := time.NewTicker(dialEvery)
	defer tick.Stop()
	for {
		h.dialDue(ctx)
		h.dialled.Store(true)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-h.kick:
		}
	}
}

func (h *Host) dialDue(ctx context.Context) {
	n := h.inner.Network()
	room := h.cfg.Limits.Members - len(n.Peers())
	if room <= 0 {
		return
	}
	list := h.book.due(time.Now(), func(p peer.ID) bool { return n.Connectedness(p) != network.NotConnected })
	var g errgroup.Group
	g.SetLimit(dialsAtOnce)
	for _, info := range list[:min(room, len(list))] {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			if err := h.inner.Connect(ctx, info); err != nil {
				h.log.Debug("member not reached", "peer", info.ID, "err", err)
			}
			return nil
		})
	}
	g.Wait()
}

// keepExchanging asks one member for the others from time to time, and the
// guard whether all are members still.
func (h *Host) keepExchanging(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(h.cfg.Every/2 + rand.N(h.cfg.Every)):
		}
		h.Recheck()
		if peers := h.inner.Network().Peers(); len(peers) > 0 {
			h.exchange(ctx, peers[rand.IntN(len(peers))])
		}
	}
}

// exchange tells p which members we know, and learns those that it knows.
func (h *Host) exchange(ctx context.Context, p peer.ID) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	s, err := h.Libp2p().NewStream(network.WithNoDial(ctx, "exchange"), p, h.Protocol(exchangeProtocol))
	if err != nil {
		h.log.Debug("exchange of addresses", "peer", p, "err", err)
		return
	}
	s.SetDeadline(time.Now().Add(exchangeTimeout))
	if err = WriteFrame(s, h.list()); err == nil {
		err = h.learn(s)
	}
	h.end(s, err)
	if err == nil {
		<-ping.Ping(ctx, h.Libp2p(), p) // notes the latency
	}
}

func (h *Host) answerExchange(s network.Stream) {
	s.SetDeadline(time.Now().Add(exchangeTimeout))
	err := h.learn(s)
	if err == nil {
		err = WriteFrame(s, h.list())
	}
	h.end(s, err)
}

func (h *Host) list() []byte { return h.book.list(MaxFrame) }

func (h *Host) learn(s network.Stream) error {
	data, err := ReadFrame(s, MaxFrame)
	if err != nil {
		return err
	}
	news, err := h.book.learn(data)
	if news > 0 {
		h.wake()
	}
	return err
}

func (h *Host) end(s network.Stream, err error) {
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		s.Reset()
		h.log.Debug("exchange of addresses", "peer", s.Conn().RemotePeer(), "err", err)
	}
}
