package p2phost

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// strangers bounds how many connections of one address may shake hands at a
// time, as nobody knows yet who they are. Loopback has no bound of its own.
type strangers struct {
	network.ResourceManager
	mu      sync.Mutex
	waiting map[netip.Prefix]int
}

// OpenConnection implements network.ResourceManager.
func (m *strangers) OpenConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	from, ok := networkOf(endpoint)
	if !ok || dir != network.DirInbound {
		return m.ResourceManager.OpenConnection(dir, usefd, endpoint)
	}
	if !m.enter(from) {
		return nil, fmt.Errorf("%d connections of %s shake hands already", handshakesPerAddress, from)
	}
	leave := sync.OnceFunc(func() { m.leave(from) })
	scope, err := m.ResourceManager.OpenConnection(dir, usefd, endpoint)
	if err != nil {
		leave()
		return nil, err
	}
	return &stranger{scope, leave}, nil
}

func (m *strangers) enter(from netip.Prefix) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting[from] >= handshakesPerAddress {
		return false
	}
	m.waiting[from]++
	return true
}

func (m *strangers) leave(from netip.Prefix) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting[from]--; m.waiting[from] == 0 {
		delete(m.waiting, from)
	}
}

// networkOf is who counts as one: an address of IPv4, a customer's network of
// IPv6.
func networkOf(endpoint ma.Multiaddr) (netip.Prefix, bool) {
	ip, err := manet.ToIP(endpoint)
	addr, ok := netip.AddrFromSlice(ip)
	if err != nil || !ok || addr.IsLoopback() {
		return netip.Prefix{}, false
	}
	bits := 56
	if addr = addr.Unmap(); addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits)
	return p, err == nil
}

// stranger is a connection until its peer is known.
type stranger struct {
	network.ConnManagementScope
	leave func()
}

// SetPeer implements network.ConnManagementScope.
func (s *stranger) SetPeer(p peer.ID) error {
	s.leave()
	return s.ConnManagementScope.SetPeer(p)
}

// Done implements network.ResourceScopeSpan.
func (s *stranger) Done() {
	s.leave()
	s.ConnManagementScope.Done()
}
