package domain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/identity"
)

const maxAddr = 400 // bytes: a name of 253 and a peer id

// Addr is where a member listens: the multiaddr of a TCP port, and nothing
// else. /ip4, /ip6, /dns, /dns4 or /dns6, then /tcp/PORT, then possibly /p2p/ID.
type Addr string

// ParseAddr reads an address in its canonical form.
// Source: https://github.com/multiformats/multiaddr
func ParseAddr(s string) (Addr, error) {
	if len(s) > maxAddr {
		return "", fmt.Errorf("address has %d bytes, at most %d are possible", len(s), maxAddr)
	}
	if err := checkAddr(s); err != nil {
		return "", fmt.Errorf("%q is no address of a member: %w; it looks like /ip4/192.0.2.1/tcp/4001", s, err)
	}
	return Addr(s), nil
}

func checkAddr(s string) error {
	p := strings.Split(s, "/")
	if len(p) != 5 && len(p) != 7 || p[0] != "" {
		return fmt.Errorf("a host, a TCP port and nothing else belong in it")
	}
	if err := checkHost(p[1], p[2]); err != nil {
		return err
	}
	port, err := strconv.ParseUint(p[4], 10, 16)
	if p[3] != "tcp" || err != nil || port == 0 || strconv.FormatUint(port, 10) != p[4] {
		return fmt.Errorf("/%s/%s is no TCP port", p[3], p[4])
	}
	if len(p) == 5 {
		return nil
	}
	if p[5] != "p2p" {
		return fmt.Errorf("/%s is not spoken", p[5])
	}
	_, err = identity.ParseID(p[6])
	return err
}

func checkHost(kind, host string) error {
	switch kind {
	case "ip4", "ip6":
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.Zone() != "" || ip.Is4() != (kind == "ip4") || ip.String() != host || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("%q is no /%s address that can be dialled", host, kind)
		}
		return nil
	case "dns", "dns4", "dns6":
		_, err := ParseName(host)
		return err
	}
	return fmt.Errorf("/%s is not spoken", kind)
}

// At returns the address with its owner's id.
func (a Addr) At(id identity.ID) Addr {
	host, _, _ := strings.Cut(string(a), "/p2p/")
	return Addr(host + "/p2p/" + string(id))
}

// Split returns the address without its owner's id, and that id, or "".
func (a Addr) Split() (Addr, identity.ID) {
	host, id, _ := strings.Cut(string(a), "/p2p/")
	return Addr(host), identity.ID(id)
}

// parseAddrs reads at most limit addresses.
func parseAddrs(list []string, limit int) ([]Addr, error) {
	if len(list) > limit {
		return nil, fmt.Errorf("%d addresses, at most %d are possible", len(list), limit)
	}
	addrs := make([]Addr, len(list))
	for i, s := range list {
		a, err := ParseAddr(s)
		if err != nil {
			return nil, err
		}
		addrs[i] = a
	}
	return addrs, nil
}

func texts(addrs []Addr) []string {
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = string(a)
	}
	return list
}

// joined are the addresses of two lists, each once, at most limit.
func joined(a, b []Addr, limit int) []Addr {
	all := slices.Concat(a, b)
	var out []Addr
	for _, x := range all {
		if len(out) < limit && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}
