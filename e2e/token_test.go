package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/wire"
)

// Two tenants on one node do not see each other, the node's own user sees
// both, and a token that was revoked is good for nothing.
func TestTokens(t *testing.T) {
	parallel(t)
	n := newNode(t)
	var node wire.Node
	n.decode(&node, "node", "status", "-o", "json")
	as := func(name string) []string {
		file := write(t, t.TempDir(), name, n.ok("token", "create", name))
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"--api", "http://" + node.Address, "--token-file", file}
	}
	ci, nightly := as("ci"), as("nightly")
	job := n.ok(append(ci, "job", "submit", "-q", "-d", "-e", "true", "--once")...)
	n.ok(append(ci, "job", "wait", job)...)
	if got := n.ok(append(nightly, "job", "list", "-q")...); got != "" {
		t.Errorf("another tenant sees %s", got)
	}
	n.fails(4, append(nightly, "job", "describe", job)...)
	n.fails(4, "job", "describe", job)
	n.ok("job", "describe", job, "--tenant", "ci")
	if got := n.ok("job", "list", "-A", "-q"); got != job {
		t.Errorf("job list -A = %q, want %s", got, job)
	}
	n.fails(5, append(nightly, "job", "list", "-A")...)
	n.fails(5, append(nightly, "token", "list")...)
	if list := n.ok("token", "list", "-q"); list != "ci\nlocal\nnightly" {
		t.Errorf("token list = %q", list)
	}

	metrics := n.get(node.Address, "/metrics", n.secret())
	for _, want := range []string{`ipdc_jobs{state="succeeded"} 1`, "ipdc_build_info{", "ipdc_blockstore_bytes ", "ipdc_queue_length 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}

	var revoked wire.Token
	if n.decode(&revoked, "token", "revoke", "ci", "-o", "json"); revoked.Name != "ci" {
		t.Errorf("token revoke -o json = %+v", revoked)
	}
	r := n.fails(5, append(ci, "job", "list")...)
	if !strings.Contains(r.stderr, "not valid") {
		t.Errorf("a revoked token is told %q", r.stderr)
	}
	n.ok(append(nightly, "job", "list")...)
	n.ok("job", "rm", job, "--tenant", "ci")
}

// secret is that of the node's own user.
func (n *node) secret() string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "token"))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// get asks the port and returns the body.
func (n *node) get(addr, path, secret string) string {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		n.t.Fatalf("GET %s: %s, %v: %s", path, resp.Status, err, b)
	}
	return string(b)
}
