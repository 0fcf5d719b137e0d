package proxy

import (
	"fmt"
	"net/netip"

	"github.com/ipdc/ipdc/internal/publicaddr"
	"github.com/ipdc/ipdc/jobspec"
)

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
	if why := publicaddr.Refused(a); why != "" {
		return a, fmt.Errorf("the address %s is %s, and the node does not allow it (--network-allow-private)", a, why)
	}
	return a, nil
}
