package publicaddr_test

import (
	"net/netip"
	"testing"

	"github.com/ipdc/ipdc/internal/publicaddr"
)

func TestRefused(t *testing.T) {
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "168.63.129.16",
		"169.254.169.254", "169.254.170.2", "172.16.0.1", "172.17.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1",
		"198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "fc00::1", "fd00:ec2::254",
		"fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001::1", "2001:20::1", "2002:7f00:1::1", "5f00::1",
	} {
		if publicaddr.Refused(netip.MustParseAddr(a)) == "" {
			t.Errorf("Refused(%s) = \"\", want a reason", a)
		}
	}
	for _, a := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
		"198.20.0.0", "223.255.255.255", "2001:200::1", "2606:4700:4700::1111", "2a04:4e42::223", "3fff:ffff::1",
	} {
		if why := publicaddr.Refused(netip.MustParseAddr(a)); why != "" {
			t.Errorf("Refused(%s) = %q, want \"\"", a, why)
		}
	}
	if publicaddr.Refused(netip.Addr{}) == "" {
		t.Error("Refused of no address = \"\", want a reason")
	}
}

func TestOwn(t *testing.T) {
	for a, want := range map[string]bool{"127.0.0.1": true, "127.0.0.2": false, "1.1.1.1": false} {
		if got := publicaddr.Own(netip.MustParseAddr(a)); got != want {
			t.Errorf("own(%s) = %v, want %v", a, got, want)
		}
	}
}
