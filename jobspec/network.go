package jobspec

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// MaxNetwork is how many host:port pairs a spec may ask for.
const MaxNetwork = 32

// Endpoint is a host and a TCP port that a program may reach.
type Endpoint struct {
	Host string // lower-case ASCII name without a final dot, or an IP address
	Port uint16 // never 0
}

// String returns host:port, with an IPv6 address in brackets.
func (e Endpoint) String() string {
	if strings.Contains(e.Host, ":") {
		return fmt.Sprintf("[%s]:%d", e.Host, e.Port)
	}
	return fmt.Sprintf("%s:%d", e.Host, e.Port)
}

// ParseEndpoint reads host:port. Names are taken in any case and with a final
// dot; wildcards, ranges, schemes, user names and paths are refused, as are
// numbers that some resolvers read as addresses (127.1, 0x7f000001). The error
// is of kind E_SPEC.
func ParseEndpoint(s string) (Endpoint, error) {
	bad := func(why string) error {
		return Failure{
			Kind: KindSpec, Detail: fmt.Sprintf("%q is not host:port: %s", clip(s), why),
			Hint: "write it as in pypi.org:443",
		}.Error()
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Endpoint{}, bad("the port is missing")
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 || s[i+1:] != strconv.FormatUint(port, 10) {
		return Endpoint{}, bad("the port is not a number from 1 to 65535")
	}
	host := s[:i]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(host, "]") {
			return Endpoint{}, bad("what is in brackets is not an IPv6 address")
		}
		return Endpoint{Host: addr.String(), Port: uint16(port)}, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return Endpoint{Host: addr.String(), Port: uint16(port)}, nil
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if why := badHost(host); why != "" {
		return Endpoint{}, bad(why)
	}
	return Endpoint{Host: host, Port: uint16(port)}, nil
}

// badHost says why host is no DNS name, or "". Source: RFC 1123, section 2.1;
// underscores are let through, as they are in use.
func badHost(host string) string {
	if host == "" || len(host) > 253 {
		return "the host is empty or over 253 characters"
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		switch {
		case label == "" || len(label) > 63:
			return "a part of the name is empty or over 63 characters"
		case strings.ContainsFunc(label, func(r rune) bool { return r > 127 }):
			return "write the name in its ASCII form (xn--...)"
		case strings.ContainsFunc(label, notHostRune) || label[0] == '-' || label[len(label)-1] == '-':
			return "names are letters, digits, '-' and '_'"
		}
	}
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		return "it looks like an address and is none"
	}
	return ""
}

func notHostRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// Endpoints returns what a valid spec's Network names, sorted.
func (s Spec) Endpoints() []Endpoint {
	var list []Endpoint
	for _, text := range canonicalNetwork(s.Network) {
		if e, err := ParseEndpoint(text); err == nil {
			list = append(list, e)
		}
	}
	return list
}

// canonicalNetwork writes each pair in its one form, sorted; what is wrong
// stays for Validate.
func canonicalNetwork(list []string) []string {
	list = slices.Clone(list)
	for i, text := range list {
		if e, err := ParseEndpoint(text); err == nil {
			list[i] = e.String()
		}
	}
	slices.Sort(list)
	return list
}

func validateNetwork(l *problemList, list []string) {
	if len(list) > MaxNetwork {
		l.add("network", "has %d entries, at most %d are granted", len(list), MaxNetwork)
	}
	for i, text := range list {
		path := joinIndex("network", i)
		_, err := ParseEndpoint(text)
		l.check(path, err)
		if i > 0 && list[i-1] == text {
			l.add(path, "%s stands twice", clip(text))
		}
	}
}
