package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost/p2phosttest"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/sidecar/fleet"
	"github.com/ipdc/ipdc/wire"
)

type anyMember struct{}

func (anyMember) Check(identity.ID, []byte, time.Time) error { return nil }

// company is a node's view of who lives: its messages, and who tells them.
func companyOf(t *testing.T, nw *memory.Network, key identity.Key, addrs ...string) (*bus.Post, *fleet.Fleet) {
	t.Helper()
	m, err := nw.Join(key.ID())
	if err != nil {
		t.Fatal(err)
	}
	post, err := bus.NewPost(m, bus.Config{
		Domain: bus.DomainID(strings.Repeat("a", 26)), Key: key, Roster: anyMember{}, Certificate: func() []byte { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return post, fleet.New(fleet.Config{Post: post, Self: func(context.Context) wire.Advert { return wire.Advert{Version: "1", Addrs: addrs} }})
}

func newIdentity(t *testing.T) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Members are about to be heard while they are dialled for the first time, while
// they are connected and silent, and while the network is replaced; else nobody
// waits for any.
func TestArriving(t *testing.T) {
	nw := memory.New(memory.Config{})
	hereKey, thereKey := newIdentity(t), newIdentity(t)
	post, members := companyOf(t, nw, hereKey)
	s := &swarm{node: &node{key: hereKey, log: slog.New(slog.DiscardHandler), exchange: newExchange(nil, true)}, fleet: members, tries: tries{}, dialing: map[identity.ID]bool{}}
	want := func(when string, arriving bool) {
		t.Helper()
		if got := s.arriving(); got != arriving {
			t.Errorf("%s members arriving() = %v, want %v", when, got, arriving)
		}
	}
	want("without a network", true)

	h := p2phosttest.Open(t, p2phosttest.Config(hereKey))
	until(t, func() bool { return !h.Dialling() })
	s.host = h
	blocks := swap.New(swap.Config{Host: h})
	if err := s.exchange.set(blocks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blocks.Close() })
	want("alone", false)

	s.is.Addrs = []domain.Addr{domain.Addr("/ip4/127.0.0.1/tcp/1").At(thereKey.ID())}
	want("told of one that was not tried", true)
	if !s.mayDial(thereKey.ID()) {
		t.Fatal("it may not be dialled")
	}
	want("dialling it", true)
	s.dialled(thereKey.ID())
	want("after it was tried", false)

	there := p2phosttest.Open(t, p2phosttest.Config(thereKey))
	if err := h.Connect(t.Context(), there.ID(), there.Listen()); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return len(h.Peers()) == 1 })
	want("connected to one that is silent", true)
	from, itself := companyOf(t, nw, thereKey)
	goes(t, post.Run, from.Run, itself.Run)
	until(t, func() bool { return len(members.Members()) == 1 })
	want("when it is heard", false)

	s.exchange.hold()
	want("before the network is replaced", true)
}

// goes lets functions run until the end of the test.
func goes(t *testing.T, all ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, len(all))
	for _, f := range all {
		go func() { _ = f(ctx); ended <- struct{}{} }()
	}
	t.Cleanup(func() {
		cancel()
		for range all {
			<-ended
		}
	})
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 2 min")
		}
	}
}

// One that is new here is dialled also by a node that has company enough: what it
// has no other member may have.
func TestNewcomerIsDialled(t *testing.T) {
	nw := memory.New(memory.Config{})
	hereKey, newKey := newIdentity(t), newIdentity(t)
	post, members := companyOf(t, nw, hereKey)
	h := p2phosttest.Open(t, p2phosttest.Config(hereKey))
	s := &swarm{node: &node{key: hereKey, log: slog.New(slog.DiscardHandler)}, fleet: members, host: h, tries: tries{}, dialing: map[identity.ID]bool{}}
	for range enough {
		other := p2phosttest.Open(t, p2phosttest.Config(newIdentity(t)))
		if err := h.Connect(t.Context(), other.ID(), other.Listen()); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() bool { return len(h.Peers()) == enough })
	told := p2phosttest.Open(t, p2phosttest.Config(newIdentity(t)))
	s.is.Addrs = []domain.Addr{domain.Addr(told.Listen()[0]).At(told.ID())}
	newcomer := p2phosttest.Open(t, p2phosttest.Config(newKey))
	from, itself := companyOf(t, nw, newKey, newcomer.Listen()...)
	goes(t, post.Run, from.Run, itself.Run)
	until(t, func() bool { return len(members.Members()) == 1 })
	var dialing sync.WaitGroup
	s.connect(t.Context(), &dialing)
	dialing.Wait()
	var ids []identity.ID
	for _, p := range h.Peers() {
		ids = append(ids, p.ID)
	}
	if !slices.Contains(ids, newcomer.ID()) || slices.Contains(ids, told.ID()) {
		t.Errorf("connected to %d, the newcomer among them: %v, one that is not new: %v; want the newcomer alone", len(ids),
			slices.Contains(ids, newcomer.ID()), slices.Contains(ids, told.ID()))
	}
}
