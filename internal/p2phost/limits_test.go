package p2phost_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipdc/ipdc/internal/p2phost"
)

// Strangers that connect and say nothing take no place from what this host
// dials, and those of one address none from other addresses.
func TestP10StrangersLeaveRoom(t *testing.T) {
	m, err := p2phost.Manager(p2phost.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	opened := func(dir network.Direction, addr string, most int) (n int) {
		for range most {
			if _, err := m.OpenConnection(dir, true, ma.StringCast(addr)); err != nil {
				break
			}
			n++
		}
		return n
	}
	one := opened(network.DirInbound, "/ip4/192.0.2.1/tcp/1", 100)
	if one == 0 || one > p2phost.TransientInbound/2 {
		t.Errorf("one address holds %d handshakes, want 1 to half of %d", one, p2phost.TransientInbound)
	}
	other, err := m.OpenConnection(network.DirInbound, true, ma.StringCast("/ip4/198.51.100.1/tcp/1"))
	if err != nil {
		t.Fatalf("another address is refused: %v", err)
	}
	all := one + 1
	for i := range 100 {
		all += opened(network.DirInbound, fmt.Sprintf("/ip4/203.0.113.%d/tcp/1", i), 8)
	}
	if all != p2phost.TransientInbound {
		t.Errorf("%d handshakes from outside, want %d", all, p2phost.TransientInbound) // the control: the places are taken
	}
	if n := opened(network.DirOutbound, "/ip4/198.51.100.2/tcp/1", 8); n != 8 {
		t.Errorf("of 8 connections to others %d are possible while strangers wait", n)
	}
	other.Done()
	if n := opened(network.DirInbound, "/ip4/192.0.2.1/tcp/1", 1); n != 0 {
		t.Error("a place of another address is given to who has all of its own")
	}
	if n := opened(network.DirInbound, "/ip4/198.51.100.1/tcp/1", 1); n != 1 {
		t.Error("a place that is free again is not given")
	}
}

// Members behind one address have their places until they are known, not for as
// long as they stay.
func TestMembersOfOneAddress(t *testing.T) {
	m, err := p2phost.Manager(p2phost.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i := range 2 * p2phost.TransientInbound {
		c, err := m.OpenConnection(network.DirInbound, true, ma.StringCast("/ip4/192.0.2.1/tcp/1"))
		if err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
		p, err := peer.Decode(string(newKey(t).ID()))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetPeer(p); err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
	}
}

// Who says nothing is left after the time for a handshake.
func TestP10SilentStrangerIsLeft(t *testing.T) {
	p2phost.AcceptWithin(t, 3*time.Second)
	c := newClub(t)
	h := open(t, c.config(t))
	stranger, err := net.Dial("tcp", tcpAddr(t, h.Listen()[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	stranger.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, stranger); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("a silent stranger is kept: %v", err)
	}
	member := open(t, c.config(t))
	if err := member.Connect(t.Context(), h.ID(), h.Listen()); err != nil || !connected(member, h.ID()) {
		t.Errorf("a member: %v", err) // the control
	}
}
