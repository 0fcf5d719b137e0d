package jobspec_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"pypi.org:443": "pypi.org:443", "PyPI.org.:443": "pypi.org:443", "a_b.example:1": "a_b.example:1",
		"192.0.2.1:80": "192.0.2.1:80", "[2001:DB8::1]:65535": "[2001:db8::1]:65535", "xn--bcher-kva.example:443": "xn--bcher-kva.example:443",
	} {
		if e, err := jobspec.ParseEndpoint(text); err != nil || e.String() != want {
			t.Errorf("ParseEndpoint(%q) = %v, %v, want %s", text, e, err, want)
		}
	}
	for _, text := range []string{
		"", "pypi.org", "pypi.org:", "pypi.org:0", "pypi.org:65536", "pypi.org:+1", "pypi.org:080", ":80", ".:80", "a..b:80",
		"*.example:80", "https://a.example:443", "u@a.example:80", "a.example:80/x", "a b:80", "-a.example:80", "127.1:80",
		"2130706433:80", "0x7f000001:80", "::1:80", "[::1:80", "[fe80::1%eth0]:80", "[127.0.0.1]:80", "b\u00fccher.example:80", "a\x00.example:80",
	} {
		if e, err := jobspec.ParseEndpoint(text); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("ParseEndpoint(%q) = %v, %v, want E_SPEC", text, e, err)
		}
	}
}

// One grant has one text, and its results are not remembered unless asked for.
func TestNetworkIsCanonical(t *testing.T) {
	a := parse(t, minimal+"network: ['B.example:2', 'a.example.:1']").WithDefaults()
	b := parse(t, minimal+"network: ['a.example:1', 'b.example:2']").WithDefaults()
	if want := []string{"a.example:1", "b.example:2"}; !slices.Equal(a.Network, want) {
		t.Errorf("Network = %v, want %v", a.Network, want)
	}
	if specCID(t, a) != specCID(t, b) {
		t.Errorf("the spec CIDs of one grant differ")
	}
	if a.Cache != jobspec.CacheOff {
		t.Errorf("Cache = %s, want off", a.Cache)
	}
	if c := parse(t, minimal+"network: ['a.example:1']\ncache: use").WithDefaults(); c.Cache != jobspec.CacheUse {
		t.Errorf("Cache = %s, want use as the spec says", c.Cache)
	}
}
