// Package publicaddr says which addresses are somebody else's on the public
// internet: the only ones to which a stranger's program or answer may lead the
// node, unless its owner names others.
//
//	addrs, err := resolver.LookupNetIP(ctx, "ip", host)
//	if why := publicaddr.Refused(addrs[0]); why != "" {
//		return fmt.Errorf("the address %s is %s", addrs[0], why)
//	}
//	// dial addrs[0], not host: its next answer may be another one
//
// Invariants: an address is judged alone, so whoever dials must dial what was
// judged; an IPv4 address in IPv6 form is judged as IPv4; when in doubt an
// address is refused.
package publicaddr

import (
	"net"
	"net/netip"
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

// Refused says in a few words what a is when it is not a public address of
// another machine, such as "private" or "this machine's own", or "".
func Refused(a netip.Addr) string {
	a = a.Unmap()
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
	if own(a) {
		return "this machine's own"
	}
	return ""
}

// own reports whether a belongs to an interface of this machine: what
// listens on all interfaces answers there too.
func own(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // better closed than open
	}
	for _, o := range addrs {
		if n, ok := o.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a {
				return true
			}
		}
	}
	return false
}
