package proxy

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/ipdc/ipdc/jobspec"
)

// special are networks that are not the public internet, or lead back from it
// to where a packet came from. IPv6 is listed only within 2000::/3; all else
// of it is refused. Networks for documentation are nobody's and left alone.
// Source: the IANA special-purpose address registries (RFC 6890).
var special = []struct {
	net  netip.Prefix
	what string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by a carrier's customers"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata service"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("2001::/23"), "reserved (Teredo and others)"},
	{netip.MustParsePrefix("2002::/16"), "6to4"},
}

var globalUnicast = netip.MustParsePrefix("2000::/3")

// refused says why an address may not be reached, or "". The address is not
// an IPv4 one in IPv6 form.
func refused(a netip.Addr) string {
	if !a.IsValid() || a.Zone() != "" {
		return "not a plain address"
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return "not a public IPv6 address"
	}
	for _, s := range special {
		if s.net.Contains(a) {
			return s.what
		}
	}
	return ""
}

// Check says why a grant can never be used with c: its host is an address that
// is refused. Names are looked at when they have been resolved.
func (c Config) Check(to jobspec.Endpoint) error {
	a, err := netip.ParseAddr(to.Host)
	if err == nil {
		_, err = c.permit(a)
		return err
	}
	return nil
}

// permit checks an address that a granted name resolved to and returns it in
// the form that is dialled.
func (c Config) permit(a netip.Addr) (netip.Addr, error) {
	a = a.Unmap()
	for _, n := range c.AllowPrivate {
		if n.Contains(a) {
			return a, nil
		}
	}
	why := refused(a)
	if why == "" && ownAddress(a) {
		why = "this machine's own"
	}
	if why != "" {
		return a, fmt.Errorf("the address %s is %s, and the node does not allow it (--network-allow-private)", a, why)
	}
	return a, nil
}

// ownAddress reports whether a belongs to an interface of this machine: what
// listens on all interfaces answers there too.
func ownAddress(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // better closed than open
	}
	for _, own := range addrs {
		if n, ok := own.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a {
				return true
			}
		}
	}
	return false
}
