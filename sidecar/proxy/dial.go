package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

const (
	addrTimeout = 10 * time.Second // to connect to one address
	dialTimeout = 30 * time.Second // to connect to a name
)

// denied is a refusal by policy; every other error means that the host could
// not be reached.
type denied struct{ error }

// dial connects to a granted endpoint, in a way that its traffic is counted.
func (p *Proxy) dial(ctx context.Context, to jobspec.Endpoint) (net.Conn, error) {
	if !p.grants[to] {
		return nil, denied{fmt.Errorf("%s is not granted to this job", to)}
	}
	if p.spent() {
		return nil, denied{fmt.Errorf("the job has moved %s, all that it may", p.cfg.Bytes)}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	up, err := p.upstream(to)
	if err != nil {
		return nil, fmt.Errorf("find the proxy that leads to %s: %w", to, err)
	}
	var c net.Conn
	if up != nil {
		c, err = p.dialUpstream(ctx, up, to)
	} else {
		c, err = p.dialDirect(ctx, to)
	}
	if err != nil {
		return nil, err
	}
	return p.outward(c), nil
}

// dialDirect resolves the host once and connects to one of the addresses that
// it checked.
func (p *Proxy) dialDirect(ctx context.Context, to jobspec.Endpoint) (net.Conn, error) {
	addrs, err := p.resolve(ctx, to.Host)
	if err != nil {
		return nil, err
	}
	var deny, fail error
	for _, a := range addrs {
		if a, err = p.cfg.permit(a); err != nil {
			deny = denied{fmt.Errorf("%s: %w", to, err)}
			continue
		}
		d := net.Dialer{Timeout: addrTimeout}
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, to.Port).String())
		if err == nil {
			return c, nil
		}
		fail = err
	}
	return nil, cmp.Or(fail, deny)
}

// resolve returns at least one address of a host.
func (p *Proxy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := p.cfg.Resolve(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("the name has no address")
	}
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	return addrs, nil
}

func (p *Proxy) upstream(to jobspec.Endpoint) (*url.URL, error) {
	if p.cfg.Upstream == nil {
		return nil, nil
	}
	return p.cfg.Upstream(&url.URL{Scheme: "https", Host: to.String()})
}

// dialUpstream asks the site's own proxy for a connection. It resolves the
// name once more by itself, so a name that has any refused address here is
// refused; one that only the upstream can resolve is let through.
func (p *Proxy) dialUpstream(ctx context.Context, up *url.URL, to jobspec.Endpoint) (net.Conn, error) {
	addrs, _ := p.resolve(ctx, to.Host)
	for _, a := range addrs {
		if _, err := p.cfg.permit(a); err != nil {
			return nil, denied{fmt.Errorf("%s: %w", to, err)}
		}
	}
	c, err := connectUpstream(ctx, up)
	if err != nil {
		return nil, fmt.Errorf("connect to the site's proxy %s: %w", up.Host, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = requestTunnel(c, up, to)
	if !stop() {
		err = cmp.Or(err, context.Cause(ctx))
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("ask the site's proxy %s for %s: %w", up.Host, to, err)
	}
	return c, nil
}

func connectUpstream(ctx context.Context, up *url.URL) (net.Conn, error) {
	d := &net.Dialer{Timeout: addrTimeout}
	switch up.Scheme {
	case "http":
		return d.DialContext(ctx, "tcp", net.JoinHostPort(up.Hostname(), cmp.Or(up.Port(), "80")))
	case "https":
		td := &tls.Dialer{NetDialer: d}
		return td.DialContext(ctx, "tcp", net.JoinHostPort(up.Hostname(), cmp.Or(up.Port(), "443")))
	}
	return nil, fmt.Errorf("its scheme is %q; http and https are supported", up.Scheme)
}

// requestTunnel sends a CONNECT over c and reads exactly the answer's header.
func requestTunnel(c net.Conn, up *url.URL, to jobspec.Endpoint) error {
	req := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\n", to, to)
	if up.User != nil {
		password, _ := up.User.Password()
		req += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(up.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := c.Write([]byte(req + "\r\n")); err != nil {
		return err
	}
	// Byte by byte, as what follows belongs to the tunnel.
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b[0]) {
		if len(head) == maxHeader {
			return fmt.Errorf("its answer has a header over %d bytes", maxHeader)
		}
		if _, err := c.Read(b); err != nil {
			return err
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s", resp.Status)
	}
	return nil
}
