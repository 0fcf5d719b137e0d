package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// ServeHTTP answers a request of the container.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.enter() {
		panic(http.ErrAbortHandler)
	}
	defer p.work.Done()
	to, err := target(r)
	if err == nil && !p.grants[to] {
		err = denied{fmt.Errorf("%s is not granted to this job; granted: %s", to, p.granted())}
	}
	switch {
	case err != nil:
		p.refuse(w, r, err)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r, to)
	default:
		p.forward.ServeHTTP(w, r)
	}
}

// target returns what a request wants to reach, in the one form in which
// grants are written.
func target(r *http.Request) (jobspec.Endpoint, error) {
	host := r.URL.Host
	switch {
	case host == "":
		return jobspec.Endpoint{}, denied{errors.New("this is a proxy: ask for a whole URL, or CONNECT to host:port")}
	case r.Method == http.MethodConnect:
	case r.URL.Scheme != "http":
		return jobspec.Endpoint{}, denied{fmt.Errorf("%s URLs go through CONNECT", r.URL.Scheme)}
	case r.URL.User != nil:
		return jobspec.Endpoint{}, denied{errors.New("a URL with a user name is not forwarded")}
	case r.URL.Port() == "":
		host += ":80"
	}
	to, err := jobspec.ParseEndpoint(host)
	if err != nil {
		return to, denied{err}
	}
	return to, nil
}

func (p *Proxy) granted() string {
	var list []string
	for e := range maps.Keys(p.grants) {
		list = append(list, e.String())
	}
	slices.Sort(list)
	if len(list) > 5 {
		list = append(list[:5], fmt.Sprintf("and %d more", len(list)-5))
	}
	return strings.Join(list, ", ")
}

// tunnel carries bytes between the container and a granted endpoint.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request, to jobspec.Endpoint) {
	server, err := p.dial(r.Context(), to)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	defer server.Close()
	client, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	defer context.AfterFunc(p.ctx, func() { _ = client.Close() })()
	_ = client.SetDeadline(time.Time{})
	if _, err := client.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		return
	}
	join(client, &firstFlight{r: buf.Reader, host: to.Host, refused: func(err error) { p.note(to.String(), err) }}, server)
}

// transport dials for forwarded requests, each over a connection of its own.
func (p *Proxy) transport() *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxHeader, ResponseHeaderTimeout: p.cfg.Idle,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			to, err := jobspec.ParseEndpoint(addr)
			if err != nil {
				return nil, denied{err}
			}
			return p.dial(ctx, to)
		},
	}
}

// refuse says why a request is not done: 403 by policy, 502 when the host
// cannot be reached. Clients show the status line of a CONNECT and nothing
// else, so the reason stands there.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadGateway
	var d denied
	if errors.As(err, &d) {
		status = http.StatusForbidden
		p.note(r.Host, err)
	}
	text := "ipdc: " + printable(err.Error())
	if r.Method != http.MethodConnect {
		http.Error(w, text, status)
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, text, len(text)+1, text)
}

// noted is how many refusals of one attempt are logged.
const noted = 20

func (p *Proxy) note(host string, why error) {
	if p.refused.Add(1) <= noted {
		p.log.Info("network refused", "host", printable(host), "err", printable(why.Error()))
	}
}

// printable makes text safe for a status line and a log.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 400)]
}
