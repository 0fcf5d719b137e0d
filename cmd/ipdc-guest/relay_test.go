package main_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/wire/guest"
)

// echoOnce accepts one connection at the proxy's socket and sends back what
// comes, upper-cased, when all has come.
func (b box) echoOnce() <-chan error {
	b.t.Helper()
	path := filepath.Join(b.at(guest.NetDir), guest.ProxySocket)
	b.must(os.RemoveAll(path))
	l, err := net.Listen("unix", path)
	b.must(err)
	done := make(chan error, 1)
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		text, err := io.ReadAll(c)
		if err == nil {
			_, err = io.WriteString(c, strings.ToUpper(string(text)))
		}
		done <- err
	}()
	return done
}

// running starts a task that writes its environment and then waits for the
// returned function, which ends it and checks its exit code.
func (b box) running(env ...string) (environ map[string]string, end func()) {
	b.t.Helper()
	fifo := filepath.Join(b.root, "fifo")
	b.must(syscall.Mkfifo(fifo, 0o600))
	cmd := b.command(guest.Task{Command: sh("env > $IPDC_OUTPUTS/env; read x <" + fifo)})
	cmd.Env = append(os.Environ(), env...)
	b.must(cmd.Start())
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for the reader
	b.must(err)
	environ = map[string]string{}
	for _, line := range strings.Split(b.outputs()["env"], "\n") {
		name, value, _ := strings.Cut(line, "=")
		environ[name] = value
	}
	return environ, func() {
		b.t.Helper()
		_, err := io.WriteString(w, "x\n")
		b.must(err)
		b.must(w.Close())
		if code := exitCode(b.t, cmd.Wait()); code != 0 {
			b.t.Errorf("exit code %d", code)
		}
	}
}

func (b box) dial(environ map[string]string) *net.TCPConn {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(environ["HTTPS_PROXY"], "http://"))
	b.must(err)
	b.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

// ask sends text, ends its direction and returns the answer.
func (b box) ask(c *net.TCPConn, text string) string {
	b.t.Helper()
	_, err := io.WriteString(c, text)
	b.must(err)
	b.must(c.CloseWrite())
	answer, err := io.ReadAll(c)
	b.must(err)
	return string(answer)
}

func TestRelay(t *testing.T) {
	b := newBox(t, nil)
	b.must(os.MkdirAll(b.at(guest.NetDir), 0o755))
	b.must(os.WriteFile(b.at(guest.CAFile), nil, 0o644))
	environ, end := b.running("SSL_CERT_FILE=mine", "HTTP_PROXY=", "no_proxy=x")
	proxy := environ["HTTPS_PROXY"]
	for name, want := range map[string]string{
		"https_proxy": proxy, "http_proxy": proxy, "HTTP_PROXY": "", "NO_PROXY": "localhost,127.0.0.1", "no_proxy": "x",
		"SSL_CERT_FILE": "mine", "PIP_CERT": b.at(guest.CAFile), "NODE_EXTRA_CA_CERTS": b.at(guest.CAFile),
	} {
		if name == "PIP_CERT" || name == "NODE_EXTRA_CA_CERTS" {
			if os.Getenv(name) != "" {
				continue // the test's own environment has it
			}
		}
		if environ[name] != want {
			t.Errorf("%s = %q, want %q", name, environ[name], want)
		}
	}

	early := b.dial(environ) // before there is a proxy
	done := b.echoOnce()
	if got := b.ask(early, "one"); got != "ONE" {
		t.Errorf("answer = %q, want ONE", got)
	}
	b.must(<-done)

	again := b.dial(environ) // the proxy is away and comes back
	done = b.echoOnce()
	if got := b.ask(again, "two"); got != "TWO" {
		t.Errorf("answer after a restart = %q, want TWO", got)
	}
	b.must(<-done)

	b.dial(environ) // stays open: the guest waits for its command only
	end()
}

// Without a grant nothing listens and nothing is set.
func TestNoRelay(t *testing.T) {
	b := newBox(t, nil)
	environ, end := b.running()
	defer end()
	if got, want := environ["HTTPS_PROXY"], os.Getenv("HTTPS_PROXY"); got != want {
		t.Errorf("HTTPS_PROXY = %q without a network, want %q", got, want)
	}
}
