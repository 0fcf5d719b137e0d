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
	done     chan struct{} // closed by close
	conns    sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool
}

// openRelay returns nil where no network was granted.
func openRelay(root string) (*relay, error) {
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
		listener: l, done: make(chan struct{}), open: map[net.Conn]bool{},
	}
	r.conns.Go(r.serve)
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
	add("localhost,127.0.0.1", "NO_PROXY", "no_proxy")
	if _, err := os.Stat(r.ca); err == nil {
		add(r.ca, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
	}
	return env
}

func (r *relay) close() {
	if r == nil {
		return
	}
	close(r.done)
	_ = r.listener.Close()
	r.mu.Lock()
	for c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.conns.Wait()
}

func (r *relay) serve() {
	for {
		c, err := r.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of files: the program has to close some
			r.pause()
		default:
			r.conns.Go(func() { r.carry(c) })
		}
	}
}

// pause waits a little and says whether the relay is still open.
func (r *relay) pause() bool {
	select {
	case <-time.After(100 * time.Millisecond):
		return true
	case <-r.done:
		return false
	}
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
		if time.Since(start) > relayPatience || !r.pause() {
			return
		}
	}
	defer r.track(proxy)()
	var both sync.WaitGroup
	both.Go(func() { pipe(proxy.(*net.UnixConn), program.(*net.TCPConn)) })
	both.Go(func() { pipe(program.(*net.TCPConn), proxy.(*net.UnixConn)) })
	both.Wait()
}

// track notes an open connection until the returned function closes it.
func (r *relay) track(c net.Conn) func() {
	r.mu.Lock()
	r.open[c] = true
	r.mu.Unlock()
	select {
	case <-r.done: // close has looked through the open ones, or will
		_ = c.Close()
	default:
	}
	return func() {
		r.mu.Lock()
		delete(r.open, c)
		r.mu.Unlock()
		_ = c.Close()
	}
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
