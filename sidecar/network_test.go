package sidecar_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/proxy"
)

// greeting serves a line to whoever connects.
func greeting(t *testing.T, line string) string {
	t.Helper()
	return testenv.Serve(t, "127.0.0.1:0", func(c net.Conn) { _, _ = io.WriteString(c, line) }).String()
}

// through asks the proxy of a job's first attempt for target and returns what
// comes back.
func (b *bench) through(job, target string) (string, error) {
	b.t.Helper()
	b.t.Chdir(filepath.Join(b.dir, "run", job+"-0-1", "net"))
	c, err := net.DialTimeout("unix", proxy.Socket, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	text, err := io.ReadAll(bufio.NewReader(c))
	return string(text), err
}

// An attempt's way out is there while it runs, across restarts of the node,
// and gone with it. What moved is in its receipt.
func TestNetworkOfAnAttempt(t *testing.T) {
	b := newBench(t)
	b.network.AllowPrivate = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	b.restart()
	server := greeting(t, "hello")
	s := spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/a:x")
	s.Network = []string{server}
	id := b.submit(s)
	b.until(id, jobspec.AttemptRunning)
	for i := range 3 {
		if got, err := b.through(id, server); !strings.HasSuffix(got, "hello") || err != nil {
			t.Errorf("start %d: %s gives %q, %v, want hello", i, server, got, err)
		}
		if got, _ := b.through(id, "192.0.2.1:80"); !strings.Contains(got, " 403 ") {
			t.Errorf("start %d: another address gives %q, want 403", i, got)
		}
		b.restart()
		b.awaitSocket(id)
	}
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	j := b.final(id)
	if rc := j.Attempts[0].Receipt; rc == nil || rc.Usage.NetIn != 3*5 {
		t.Errorf("receipt = %+v, want 15 bytes in over three processes", rc)
	}
	b.nothingLeft(id)
}

// networked starts a job that may reach a greeting of five bytes, with a limit
// for both ways.
func (b *bench) networked(limit jobspec.Bytes) (job, server string) {
	b.t.Helper()
	b.network = proxy.Config{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Bytes: limit}
	b.restart()
	server = greeting(b.t, "hello")
	s := spec("DUMMY_SLEEP=1h", "DUMMY_WRITE=/outputs/a:x")
	s.Network = []string{server}
	job = b.submit(s)
	b.until(job, jobspec.AttemptRunning)
	b.awaitSocket(job)
	return job, server
}

// A new process of the node does not grant the bytes again.
func TestNetworkLimitOverRestarts(t *testing.T) {
	b := newBench(t)
	id, server := b.networked(10)
	for i, want := range []string{"\r\n\r\nhello", "\r\n\r\nhello", "moved 10B, all that it may\n"} {
		if got, err := b.through(id, server); !strings.HasSuffix(got, want) || err != nil {
			t.Errorf("process %d: %s gives %q, %v, want %q at its end", i, server, got, err, want)
		}
		b.restart()
		b.awaitSocket(id)
	}
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	if rc := b.final(id).Attempts[0].Receipt; rc == nil || rc.Usage.NetIn != 10 {
		t.Errorf("receipt = %+v, want 10 bytes in", rc)
	}
}

// What moved is in the store while the program runs, for the case that the
// node is killed.
func TestNetworkUsageIsKeptMeanwhile(t *testing.T) {
	b := newBench(t)
	id, server := b.networked(0)
	for n := jobspec.Bytes(5); n <= 10; n += 5 {
		if got, err := b.through(id, server); !strings.HasSuffix(got, "hello") || err != nil {
			t.Fatalf("%s gives %q, %v", server, got, err)
		}
		b.untilMoved(id, n)
	}
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	if rc := b.final(id).Attempts[0].Receipt; rc == nil || rc.Usage.NetIn != 10 {
		t.Errorf("receipt = %+v, want 10 bytes in, each counted once", rc)
	}
}

// untilMoved waits until the store has n bytes for a job's first attempt.
func (b *bench) untilMoved(job string, n jobspec.Bytes) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var got jobspec.Bytes
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		j, err := b.Job(b.t.Context(), "t", job)
		if err != nil {
			b.t.Fatal(err)
		}
		if got = j.Attempts[0].NetIn; got == n {
			return
		}
	}
	b.t.Fatalf("the running attempt of %s has %d bytes in, want %d", job, got, n)
}

// brokenWait is an executor whose containers cannot be waited for.
type brokenWait struct {
	executor.Executor
	fail chan struct{}
}

func (e brokenWait) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	select {
	case <-e.fail:
		return executor.Exit{}, jobspec.KindPolicy.Errorf("the engine gives %s up", id)
	case <-ctx.Done():
		return executor.Exit{}, ctx.Err()
	}
}

// An attempt that is given up has what it moved in its record.
func TestNetworkUsageOfAbandoned(t *testing.T) {
	b := newBench(t)
	broken := brokenWait{fail: make(chan struct{})}
	b.wrap = func(ex executor.Executor) executor.Executor { broken.Executor = ex; return broken }
	id, server := b.networked(0)
	if got, err := b.through(id, server); !strings.HasSuffix(got, "hello") || err != nil {
		t.Fatalf("%s gives %q, %v", server, got, err)
	}
	close(broken.fail)
	if a := b.final(id).Attempts[0]; a.State != jobspec.AttemptAbandoned || a.NetIn != 5 {
		t.Errorf("attempt is %s with %d bytes in, want abandoned with 5", a.State, a.NetIn)
	}
}

func (b *bench) awaitSocket(job string) {
	b.t.Helper()
	path := filepath.Join(b.dir, "run", job+"-0-1", "net", proxy.Socket)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		// The file is there before anybody listens; its mode is set after that.
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() == 0o666 {
			return
		}
	}
	b.t.Fatalf("no %s", path)
}

// A grant that the node's settings never let through is refused at once.
func TestSubmitRefusesPrivateAddresses(t *testing.T) {
	b := newBench(t)
	for _, to := range []string{"10.0.0.1:80", "169.254.169.254:80", "[::1]:80", "[fd00::1]:80"} {
		s := spec()
		s.Network = []string{to}
		_, _, err := b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: s})
		if !errors.Is(err, jobspec.KindPolicy.Error()) || !strings.Contains(err.Error(), "network[0]") {
			t.Errorf("submit with a network of %s = %v, want E_POLICY", to, err)
		}
	}
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Network = []string{"203.0.113.7:80", "example.org:443"}
	if j := b.final(b.submit(s)); j.State != jobspec.JobSucceeded {
		t.Errorf("job with a public network = %s %+v", j.State, j.Failure)
	}
}
