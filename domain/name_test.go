package domain_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/domain"
)

// P04: a name is canonical or refused, and the refusal says how it is written.
func TestP04Names(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	long := strings.Join([]string{label63, label63, label63, label63[:61]}, ".") // 253
	for _, tt := range []struct {
		in, bad string // the name, what the refusal says; "" = accepted
	}{
		{"a", ""}, {"lab", ""}, {"lab.example", ""}, {"0", ""}, {"a-b", ""}, {long, ""},
		{"xn--mnchen-3ya", ""}, {"xn--mnchen-3ya.example", ""},

		{"", "empty"}, {".", "empty"}, {"a..b", "empty"}, {".a", "empty"},
		{"lab.", `write it as "lab"`}, {"A", `write it as "a"`}, {"Lab.Example", `write it as "lab.example"`},
		{"münchen", `write it as "xn--mnchen-3ya"`}, {"ｌａｂ", `write it as "lab"`},
		{"lаb", `write it as "xn--`}, // a Cyrillic letter: other bytes, and shown as such
		{"../x", "empty"}, {"..", "empty"}, {"a/b", "only a-z"}, {`a\b`, "only a-z"}, {"*", "only a-z"}, {"a b", "only a-z"},
		{"a_b", "only a-z"}, {"a\x00", "only a-z"}, {"a\n", "only a-z"}, {"\u202ea", "only a-z"}, {"a\xff", "only a-z"},
		{"-a", "begins or ends"}, {"a-", "begins or ends"}, {"a.-b", "begins or ends"},
		{label63 + "a", "64 bytes"}, {long + "a", "254"}, {strings.Repeat("a", 1<<20), "1048576"},
		{"xn--a", "other scripts"}, {"xn--mnchen-3yA", "only a-z"}, {"ab--c", "other scripts"}, {"xn--lab-", "begins or ends"},
	} {
		got, err := domain.ParseName(tt.in)
		switch {
		case tt.bad == "" && (err != nil || string(got) != tt.in):
			t.Errorf("ParseName(%.60q) = %q, %v, want itself", tt.in, got, err)
		case tt.bad != "" && (err == nil || !strings.Contains(err.Error(), tt.bad)):
			t.Errorf("ParseName(%.60q) = %q, %v, want an error with %q", tt.in, got, err, tt.bad)
		}
	}
}

func TestHomeName(t *testing.T) {
	for in, want := range map[string]domain.Name{
		"lab7": "lab7", "Lab7.example.org": "lab7", "my_host": "my-host", "": "home", "...": "home", "--": "home", "日本": "home",
		"xn--zz": "home", strings.Repeat("a", 300): domain.Name(strings.Repeat("a", 63)), "../x": "home", "*": "home",
	} {
		if got := domain.HomeName(in); got != want {
			t.Errorf("HomeName(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.String().Draw(t, "host")
		if n := domain.HomeName(host); !canonical(n) {
			t.Fatalf("HomeName(%q) = %q, which is no name", host, n)
		}
	})
}

func canonical(n domain.Name) bool {
	again, err := domain.ParseName(string(n))
	return err == nil && again == n
}

func TestAddr(t *testing.T) {
	const id = "12D3KooWD3CgyGKXk7touZhc6tNTaK3NBmEG1MWfwwHn7PPqLBmV"
	for _, good := range []string{"/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/tcp/1", "/dns/a.example/tcp/65535", "/dns4/a/tcp/1", "/ip4/127.0.0.1/tcp/9/p2p/" + id} {
		if got, err := domain.ParseAddr(good); err != nil || string(got) != good {
			t.Errorf("ParseAddr(%q) = %q, %v", good, got, err)
		}
	}
	if a, by := domain.Addr("/ip4/192.0.2.1/tcp/1").At(id).Split(); a != "/ip4/192.0.2.1/tcp/1" || by != id {
		t.Errorf("At and Split = %q, %q", a, by)
	}
	// Z06: what the 2018 program gave to a shell, and what a libp2p host would
	// dial if it were asked to.
	for _, bad := range []string{
		"", "/", "192.0.2.1", "192.0.2.1:4001", "$(id)", "/ip4/192.0.2.1/tcp/4001; rm -rf /", "/ip4/192.0.2.1/tcp/$(id)", "`id`",
		"/ip4/192.0.2.1/udp/4001/quic-v1", "/ip4/192.0.2.1/tcp/4001/ws", "/unix/run/x.sock", "/ip4/192.0.2.1/tcp/4001/p2p/x",
		"/ip4/192.0.2.1/tcp/4001/p2p/" + id + "/p2p-circuit", "/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/tcp/65536", "/ip4/192.0.2.1/tcp/01",
		"/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.1/tcp/1", "/ip4/::1/tcp/1", "/ip6/127.0.0.1/tcp/1", "/ip6/fe80::1%eth0/tcp/1", "/ip4/192.0.2.01/tcp/1",
		"/dns4/../tcp/1", "/dns4/A/tcp/1", "/dnsaddr/bootstrap.libp2p.io/tcp/1", "/ip4/192.0.2.1/tcp/4001/", "/dns4/" + strings.Repeat("a.", 300) + "a/tcp/1",
	} {
		if got, err := domain.ParseAddr(bad); err == nil {
			t.Errorf("ParseAddr(%q) = %q, want an error", bad, got)
		}
	}
}
