package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

// front stands before a Kubo and counts what comes.
type front struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string
	conns map[net.Conn]bool // open ones
}

func newFront(t *testing.T, k *testenv.KuboDaemon) *front {
	t.Helper()
	u, err := url.Parse(k.API)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{conns: map[net.Conn]bool{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.calls = append(f.calls, r.URL.RequestURI())
		f.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	f.Config.ConnState = func(c net.Conn, s http.ConnState) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.conns[c] = true; s == http.StateClosed {
			delete(f.conns, c)
		}
	}
	f.Start()
	t.Cleanup(f.Close)
	return f
}

// seen returns how many calls have come, and how many connections are open.
func (f *front) seen() (calls, conns int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls), len(f.conns)
}

// peace waits until nothing has come for 5 s, in which a node under test looks
// for leftovers 100 times.
func (f *front) peace(t *testing.T, after string) {
	t.Helper()
	for range 6 {
		before, _ := f.seen()
		<-time.After(5 * time.Second)
		now, _ := f.seen()
		if now == before {
			return
		}
		f.mu.Lock()
		t.Logf("%s: %q", after, f.calls[before:now])
		f.mu.Unlock()
	}
	t.Errorf("%s: the Kubo is asked again and again", after)
}

// A node that does nothing asks its user's Kubo for nothing; one that is killed
// leaves not even a connection.
func TestIdleNodeLeavesKuboAlone(t *testing.T) {
	n := newNode(t)
	n.env = append(n.env, "IPDC_SWEEP_EVERY=50ms")
	k := testenv.Kubo(t)
	f := newFront(t, k)
	input := k.Run("add", "--recursive", "--quieter", logsDir(t))
	n.onKubo(f.URL)
	f.peace(t, "after a start")

	before, _ := f.seen()
	n.ok("job", "submit", "-e", "cat", "-c", input)
	if now, _ := f.seen(); now == before {
		t.Fatal("control: a job asks the Kubo for nothing")
	}
	f.peace(t, "after a job")

	id := n.ok("job", "submit", "-d", "--once", "-e", "sleep 600; cat a.txt", "-c", input)
	n.await("the container to run", 20*time.Second, func() bool {
		a := n.job(id).Attempts
		return a != nil && a[0].State == jobspec.AttemptRunning
	})
	f.peace(t, "while a container runs")
	n.kill()
	n.await("connections to close", 10*time.Second, func() bool { _, conns := f.seen(); return conns == 0 })
	f.peace(t, "after a kill")

	n.start()
	n.ok("job", "stop", id)
	f.peace(t, "after a job was stopped")
}
