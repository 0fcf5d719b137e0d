package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/bustest"
	"github.com/ipdc/ipdc/bus/p2p"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/p2phost/p2phosttest"
)

func TestMain(m *testing.M) { p2phosttest.Main(m) }

// node is a bus with the host below it.
type node struct {
	*p2p.Bus
	host *p2phost.Host
}

func (n node) Close() error {
	err := n.Bus.Close()
	n.host.Close()
	return err
}

// town is a network of nodes that all know the others.
type town struct {
	mu    sync.Mutex
	hosts map[identity.ID]*p2phost.Host
}

// open adds a host that is connected to all others.
func (w *town) open(t *testing.T, key identity.Key) *p2phost.Host {
	t.Helper()
	h := p2phosttest.Open(t, p2phosttest.Config(key))
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, other := range w.hosts {
		if id == key.ID() {
			continue
		}
		if err := h.Connect(t.Context(), id, other.Listen()); err != nil {
			t.Logf("connect: %v", err) // it has left
		}
	}
	w.hosts[key.ID()] = h
	return h
}

func (w *town) join(t *testing.T, key identity.Key) node {
	t.Helper()
	h := w.open(t, key)
	b, err := p2p.Open(p2p.Config{Host: h})
	if err != nil {
		t.Fatal(err)
	}
	return node{b, h}
}

func TestConformance(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Subject {
		w := &town{hosts: map[identity.ID]*p2phost.Host{}}
		return bustest.Subject{
			Join:  func(t *testing.T, key identity.Key) bus.Messenger { return w.join(t, key) },
			Kill:  func(t *testing.T, m bus.Messenger) { m.(node).host.Close() },
			Keeps: true, Tells: true,
		}
	})
}

func (w *town) host(t *testing.T) *p2phost.Host {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return w.open(t, key)
}

// A member that subscribes to topics of its own making makes nobody remember
// them (CVE-2026-46679).
func TestP13OnlyOurTopics(t *testing.T) {
	w := &town{hosts: map[identity.ID]*p2phost.Host{}}
	host := w.host(t)
	victim, err := p2p.Open(p2p.Config{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	other, err := p2p.Wild(ctx, w.host(t))
	if err != nil {
		t.Fatal(err)
	}
	h := w.host(t)
	bad, err := p2p.Wild(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	first, last := string(h.Protocol("topic/nodes")), string(h.Protocol("topic/offers"))
	subscribe(t, bad, first)
	eventually(t, "our topic is seen", func() bool { return victim.Listed(first) == 1 })
	for i := range 100 {
		subscribe(t, bad, fmt.Sprintf("evil/%d", i))
	}
	subscribe(t, bad, last)
	eventually(t, "what was subscribed last is seen", func() bool { return victim.Listed(last) == 1 })
	eventually(t, "the control: who has no bounds remembers", func() bool { return len(other.ListPeers("evil/99")) == 1 })
	for i := range 100 {
		if topic := fmt.Sprintf("evil/%d", i); victim.Listed(topic) != 0 {
			t.Errorf("the victim remembers %s", topic)
		}
	}
}

// What nobody vouches for is not received, and so not passed on.
func TestP11Vouch(t *testing.T) {
	w := &town{hosts: map[identity.ID]*p2phost.Host{}}
	var got [2]chan string // with and, as the control, without
	for i, vouch := range []func(bus.Delivery) error{
		func(d bus.Delivery) error {
			if string(d.Payload) == "made up" {
				return errors.New("nobody signed it")
			}
			return nil
		}, nil,
	} {
		b, err := p2p.Open(p2p.Config{Host: w.host(t), Vouch: vouch})
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 1000)
		var received sync.WaitGroup
		received.Go(func() {
			_ = b.Receive(context.WithoutCancel(t.Context()), func(d bus.Delivery) {
				select {
				case heard <- string(d.Payload):
				default:
				}
			})
		})
		defer received.Wait()
		defer b.Close()
		got[i] = heard
	}
	evil, err := p2p.Open(p2p.Config{Host: w.host(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer evil.Close()
	hears := func(heard chan string, text string) bool {
		for _, payload := range []string{"made up", "signed"} {
			if err := evil.Announce(t.Context(), bus.TopicOffers, []byte(payload)); err != nil {
				t.Fatal(err)
			}
		}
		for len(heard) > 0 {
			if <-heard == text {
				return true
			}
		}
		return false
	}
	eventually(t, "who takes all hears what is made up", func() bool { return hears(got[1], "made up") })
	var all []string
	eventually(t, "the control: who asks hears the rest", func() bool {
		hears(got[1], "")
		for len(got[0]) > 0 {
			all = append(all, <-got[0])
		}
		return slices.Contains(all, "signed")
	})
	if slices.Contains(all, "made up") {
		t.Error("who asks hears what is made up")
	}
}

func subscribe(t *testing.T, ps *pubsub.PubSub, name string) {
	t.Helper()
	topic, err := ps.Join(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Subscribe(); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not in 2 min: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
