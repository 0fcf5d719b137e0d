package kubo

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// Addr is where a Kubo's RPC listens.
type Addr struct {
	scheme  string // "http", "https"
	network string // "tcp", "unix"
	host    string // HOST:PORT, or the path of a socket
}

// String returns HOST:PORT or the path of the socket.
func (a Addr) String() string { return a.host }

func (a Addr) url() string {
	if a.network == "unix" {
		return a.scheme + "://kubo"
	}
	return a.scheme + "://" + a.host
}

// ParseAddr reads /ip4/127.0.0.1/tcp/5001 (also ip6, dns, dns4, dns6, with
// /http or /https at the end), /unix/PATH, http://HOST:PORT or https://HOST.
// Whoever reaches the RPC owns that Kubo, so it is spoken to without TLS on
// the loopback interface only.
func ParseAddr(text string) (a Addr, err error) {
	if strings.HasPrefix(text, "/") {
		a, err = parseMultiaddr(text)
	} else {
		a, err = parseURL(text)
	}
	if err == nil && a.network == "tcp" && a.scheme == "http" && !loopback(a.host) {
		err = jobspec.Failure{
			Kind:   jobspec.KindPolicy,
			Detail: "it is not on this machine, and anybody on the way could read and change what is sent",
			Hint:   "use https://HOST, or a tunnel: ssh -L 5001:127.0.0.1:5001 HOST",
		}.Error()
	}
	if err != nil {
		return Addr{}, fmt.Errorf("address %q of Kubo: %w", text, err)
	}
	return a, nil
}

func parseMultiaddr(text string) (Addr, error) {
	if path, ok := strings.CutPrefix(text, "/unix"); ok && len(path) > 1 && path[0] == '/' {
		return Addr{scheme: "http", network: "unix", host: path}, nil
	}
	a := Addr{scheme: "http", network: "tcp"}
	if rest, ok := strings.CutSuffix(text, "/tls/http"); ok {
		a.scheme, text = "https", rest
	} else if rest, ok := strings.CutSuffix(text, "/https"); ok {
		a.scheme, text = "https", rest
	} else {
		text = strings.TrimSuffix(text, "/http")
	}
	part := strings.Split(text, "/") // "", protocol, host, "tcp", port
	if len(part) != 5 || part[3] != "tcp" || part[2] == "" {
		return a, wantAddr()
	}
	if port, err := strconv.ParseUint(part[4], 10, 16); err != nil || port == 0 {
		return a, wantAddr()
	}
	ip := net.ParseIP(part[2])
	switch part[1] {
	case "ip4":
		if ip == nil || ip.To4() == nil {
			return a, wantAddr()
		}
	case "ip6":
		if ip == nil || ip.To4() != nil {
			return a, wantAddr()
		}
	case "dns", "dns4", "dns6":
	default:
		return a, wantAddr()
	}
	a.host = net.JoinHostPort(part[2], part[4])
	return a, nil
}

func parseURL(text string) (Addr, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return Addr{}, wantAddr()
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if port == "" {
		return Addr{}, wantAddr()
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return Addr{scheme: u.Scheme, network: "tcp", host: net.JoinHostPort(u.Hostname(), port)}, nil
}

func wantAddr() error {
	return jobspec.Failure{
		Kind:   jobspec.KindSpec,
		Detail: "want /ip4/127.0.0.1/tcp/5001, /unix/PATH or http://127.0.0.1:5001",
		Hint:   "a running Kubo writes it to the file api in its directory: cat ~/.ipfs/api",
	}.Error()
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
