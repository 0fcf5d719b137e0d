package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/proxy"
)

// network is what jobs with a network get from this node.
func (n *node) network() proxy.Config {
	return proxy.Config{
		AllowPrivate: n.set.NetworkAllowPrivate,
		Bytes:        n.set.NetworkBytes,
		Upstream: func(u *url.URL) (*url.URL, error) { // HTTPS_PROXY and NO_PROXY of the node
			return http.ProxyFromEnvironment(&http.Request{URL: u})
		},
	}
}

// authorities finds the host's certificate authorities, or "" when there are
// none.
func (n *node) authorities() string {
	if n.set.CAFile != "" {
		return n.set.CAFile
	}
	for _, file := range []string{
		os.Getenv("SSL_CERT_FILE"),
		"/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
		"/etc/ssl/ca-bundle.pem",             // openSUSE
	} {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// networks is a list of address ranges with commas between them.
type networks []netip.Prefix

func (l *networks) UnmarshalText(b []byte) error {
	var list networks
	for _, word := range strings.Split(string(b), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(word))
		if err != nil {
			return fmt.Errorf("%q: want networks such as 10.1.0.0/16,fd00::/8", word)
		}
		list = append(list, p.Masked())
	}
	*l = list
	return nil
}

func (l networks) String() string {
	var words []string
	for _, p := range l {
		words = append(words, p.String())
	}
	return strings.Join(words, ",")
}

// setNetwork reads --network; "none" takes away what a spec asks for.
func setNetwork(s *jobspec.Spec, list []string) error {
	if slices.Equal(list, []string{"none"}) {
		s.Network = nil
		return nil
	}
	for _, text := range list {
		if _, err := jobspec.ParseEndpoint(text); err != nil {
			return usagef("--network: %w", err)
		}
	}
	if len(list) > 0 {
		s.Network = list
	}
	return nil
}
