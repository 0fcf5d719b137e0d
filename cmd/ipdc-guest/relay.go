package main

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/wire/guest"
)

// relayPatience is how long a connection waits for the proxy's socket: a node
// that is started again is away for some seconds.
const relayPatience = 60 * time.Second

// relay offers the proxy's unix socket as a TCP address, which is what programs
// can use. A nil relay has no network to offer.
type relay struct {
	socket   string
	ca       string
	listener net.Listener
	direct   []string // hosts that are reached without it
	*conns
}

// openRelay returns nil where no network was granted. direct are hosts that the
// network does not lead to.
func openRelay(root string, direct []string) (*relay, error) {
	dir := filepath.Join(root, guest.NetDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	address := guest.ProxyAddress
	if root != "" {
		address = "127.0.0.1:0" // a test's host may run others
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	r := &relay{
		socket: filepath.Join(dir, guest.ProxySocket), ca: filepath.Join(root, guest.CAFile),
		listener: l, direct: append([]string{"localhost", "127.0.0.1"}, direct...), conns: newConns(),
	}
	r.work.Go(func() { r.serve(l, r.carry) })
	return r, nil
}

// environ returns env with what leads programs to the network. What the job
// has set itself stays.
func (r *relay) environ(env []string) []string {
	if r == nil {
		return env
	}
	set := map[string]bool{}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		set[name] = true
	}
	add := func(value string, names ...string) {
		for _, name := range names {
			if !set[name] {
				env = append(env, name+"="+value)
			}
		}
	}
	add("http://"+r.listener.Addr().String(), "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
	add(strings.Join(r.direct, ","), "NO_PROXY", "no_proxy")
	if _, err := os.Stat(r.ca); err == nil {
		add(r.ca, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
	}
	return env
}

func (r *relay) close() {
	if r == nil {
		return
	}
	_ = r.listener.Close()
	r.conns.close()
}

// carry joins a program's connection with one to the proxy.
func (r *relay) carry(program net.Conn) {
	defer r.track(program)()
	var proxy net.Conn
	for start := time.Now(); ; {
		var err error
		if proxy, err = net.Dial("unix", r.socket); err == nil {
			break
		}
		if time.Since(start) > relayPatience || !r.pause(100*time.Millisecond) {
			return
		}
	}
	defer r.track(proxy)()
	var both sync.WaitGroup
	both.Go(func() { pipe(proxy.(*net.UnixConn), program.(*net.TCPConn)) })
	both.Go(func() { pipe(program.(*net.TCPConn), proxy.(*net.UnixConn)) })
	both.Wait()
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// pipe copies one direction to its end; a failure ends both.
func pipe(to, from halfCloser) {
	if _, err := io.Copy(to, from); err != nil || to.CloseWrite() != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
