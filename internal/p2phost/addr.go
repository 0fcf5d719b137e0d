package p2phost

import (
	"fmt"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipdc/ipdc/jobspec"
)

// checkTCP accepts an address of plain TCP, the only transport that knows
// pre-shared keys.
func checkTCP(text string) error {
	a, err := ma.NewMultiaddr(text)
	if err != nil {
		return fmt.Errorf("address %q: %w", text, err)
	}
	if p := a.Protocols(); len(p) != 2 || p[1].Code != ma.P_TCP {
		return jobspec.Failure{Kind: jobspec.KindPNet, Detail: fmt.Sprintf("address %s is not plain TCP, and no other transport has a pre-shared key", a),
			Hint: "name an address such as /ip4/0.0.0.0/tcp/4101"}.Error()
	}
	return nil
}

var listenAnywhere = []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"}

// listening fails when a port that was asked for is not ours. libp2p itself is
// content with one of several.
func (h *Host) listening() error {
	have := h.inner.Network().ListenAddresses()
	for _, text := range h.cfg.Listen {
		port, err := ma.StringCast(text).ValueForProtocol(ma.P_TCP)
		if err != nil || port == "0" {
			continue
		}
		if !anyPort(have, port) {
			return fmt.Errorf("listen on %s: the port is taken or the address is not this machine's", text)
		}
	}
	return nil
}

func anyPort(addrs []ma.Multiaddr, port string) bool {
	for _, a := range addrs {
		if p, err := a.ValueForProtocol(ma.P_TCP); err == nil && p == port {
			return true
		}
	}
	return false
}

// Listen returns the addresses that this host listens on, with the ports that
// it got: what Config.Listen should be the next time.
func (h *Host) Listen() []string {
	var list []string
	for _, a := range h.inner.Network().ListenAddresses() {
		if checkTCP(a.String()) == nil {
			list = append(list, a.String())
		}
	}
	return list
}

// Addrs returns the addresses by which others reach this host now.
func (h *Host) Addrs() []string { return texts(h.inner.Addrs()) }

func texts(addrs []ma.Multiaddr) []string {
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = a.String()
	}
	return list
}

// announced is what others are told of our addresses.
func (h *Host) announced(own []ma.Multiaddr) []ma.Multiaddr {
	if len(h.cfg.Announce) == 0 {
		return append(own, h.relays.addrs()...)
	}
	list := make([]ma.Multiaddr, len(h.cfg.Announce))
	for i, text := range h.cfg.Announce {
		list[i] = ma.StringCast(text)
	}
	return list
}
