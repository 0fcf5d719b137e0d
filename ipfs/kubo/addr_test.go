package kubo_test

import (
	"testing"

	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
)

func TestParseAddr(t *testing.T) {
	for text, want := range map[string]string{
		"/ip4/127.0.0.1/tcp/5001":             "127.0.0.1:5001",
		"/ip4/127.0.0.1/tcp/5001/http":        "127.0.0.1:5001",
		"/ip6/::1/tcp/5001":                   "[::1]:5001",
		"/dns4/localhost/tcp/5001":            "localhost:5001",
		"/dns/kubo.example/tcp/443/https":     "kubo.example:443",
		"/dns/kubo.example/tcp/443/tls/http":  "kubo.example:443",
		"/unix/run/kubo.sock":                 "/run/kubo.sock",
		"http://127.0.0.1:5001":               "127.0.0.1:5001",
		"http://localhost:5001/":              "localhost:5001",
		"http://[::1]:5001":                   "[::1]:5001",
		"https://kubo.example":                "kubo.example:443",
		"/ip4/192.0.2.1/tcp/5001":             "E_POLICY",
		"http://kubo.example:5001":            "E_POLICY",
		"http://127.0.0.1.example:5001":       "E_POLICY",
		"/dns/localhost.example/tcp/5001":     "E_POLICY",
		"":                                    "E_SPEC",
		"5001":                                "E_SPEC",
		"127.0.0.1:5001":                      "E_SPEC",
		"/ip4/127.0.0.1/udp/5001":             "E_SPEC",
		"/ip4/127.0.0.1/tcp/0":                "E_SPEC",
		"/ip4/127.0.0.1/tcp/65536":            "E_SPEC",
		"/ip4/::1/tcp/5001":                   "E_SPEC",
		"/ip6/127.0.0.1/tcp/5001":             "E_SPEC",
		"/ip4/localhost/tcp/5001":             "E_SPEC",
		"/ip4/127.0.0.1/tcp/5001/p2p/12D3Koo": "E_SPEC",
		"ftp://127.0.0.1":                     "E_SPEC",
		"http://user:secret@127.0.0.1:5001":   "E_SPEC",
		"http://127.0.0.1:5001/api/v0":        "E_SPEC",
	} {
		a, err := kubo.ParseAddr(text)
		got := a.String()
		if err != nil {
			got = string(jobspec.AsFailure(err).Kind)
			if jobspec.AsFailure(err).Hint == "" {
				t.Errorf("ParseAddr(%q): no hint", text)
			}
		}
		if got != want {
			t.Errorf("ParseAddr(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}
