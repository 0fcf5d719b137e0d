package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A result lands in a real S3 server with equal checksums, though the server
// failed and the node was killed in between; whoever is to be told is
// told; nothing else leaves the node.
func TestPublish(t *testing.T) {
	parallel(t)
	n := newNode(t)
	server := testenv.S3(t)
	through, failed, well := unwell(t, server.Endpoint)
	told := filepath.Join(t.TempDir(), "told")
	write(t, n.dir, "config.yaml", "outlet-pause: 100ms\n")
	n.stop()
	n.start()

	submit := []string{"job", "submit", "-e", "sed -n /99./p", "-c", logsDir(t), "--publish", "s3://results/nightly", "--notify", "exec:tell"}
	r := n.fails(5, submit...)
	if !strings.Contains(r.stderr, "does not permit s3://results/nightly") || !strings.Contains(r.stderr, "outlets.yaml") {
		t.Errorf("what is not permitted is refused with %q", r.stderr)
	}
	n.permit(fmt.Sprintf(`
publish:
- {url: "s3://results/nightly", endpoint: %q, access_key: %s, secret_key: %s}
notify:
- {url: "exec:tell", command: [/bin/sh, -c, "cat >> %s"]}
`, through, server.AccessKey, server.SecretKey, told))
	job := n.ok(append(submit, "-d")...)
	n.ok("job", "wait", job)
	n.await("the server to be asked", time.Minute, func() bool { return failed.Load() > 0 })
	n.kill()
	before := failed.Load()
	n.start()
	n.await("the server to be asked again", time.Minute, func() bool { return failed.Load() > before })
	well.Store(true)

	var j wire.Job
	n.await("the result to be there", 2*time.Minute, func() bool {
		n.decode(&j, "job", "describe", job, "-o", "json")
		return len(j.Deliveries) == 2 && j.Deliveries[0].State == jobspec.DeliveryDone && j.Deliveries[1].State == jobspec.DeliveryDone
	})
	if j.Deliveries[0].Files != 3 {
		t.Errorf("deliveries = %+v, want 3 files", j.Deliveries)
	}
	top := server.Path("nightly")
	sums := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = top
	if out, err := sums.CombinedOutput(); err != nil || strings.Count(string(out), ": OK\n") != 3 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	got := files(t, top)
	delete(got, "SHA256SUMS")
	if diff := cmp.Diff(map[string]string{"a.txt": "one 997\n", "b/c.txt": "three 99x\n", "b/empty.txt": ""}, got); diff != "" {
		t.Errorf("in the bucket (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(told); err != nil || !strings.Contains(string(b), `"type":"job.succeeded"`) || !strings.Contains(string(b), j.Result.String()) {
		t.Errorf("told %q, %v", b, err)
	}
	if out := n.ok("job", "describe", job); !strings.Contains(out, "s3://results/nightly") || strings.Contains(out, server.SecretKey) {
		t.Errorf("describe shows %s", out)
	}
	if log := n.log.String(); strings.Contains(log, server.SecretKey) {
		t.Error("the node's log shows the password of the server")
	}
	r = n.fails(1, "job", "publish", job)
	if !strings.Contains(r.stderr, "none of its 2 deliveries has failed") {
		t.Errorf("publish with nothing to do says %q", r.stderr)
	}
}

// permit writes what the node permits.
func (n *node) permit(text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, "outlets.yaml"), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// unwell is a way to a server that fails requests that put something, and counts
// them, until it is well.
func unwell(t *testing.T, server string) (endpoint string, failed *atomic.Int64, well *atomic.Bool) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	failed, well = new(atomic.Int64), new(atomic.Bool)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = u.Scheme, u.Host }}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && !well.Load() {
			failed.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h.URL, failed, well
}
