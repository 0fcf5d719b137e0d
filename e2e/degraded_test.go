package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asked sends a GET with a token, if any, to the node's port.
func (n *node) asked(path, token string) (code int, body string) {
	n.t.Helper()
	info, err := n.client().Node(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, "http://"+info.Address+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// A file that a running node reads again is damaged, or goes: the node goes on
// with what it knew, says so, and is well again with the file.
func TestF72FilesThatCannotBeReadAgain(t *testing.T) {
	n := newNode(t)
	found, err := filepath.Glob(filepath.Join(n.dir, "domains", "*", "membership"))
	if err != nil || len(found) != 1 {
		t.Fatalf("membership files: %v, %v", found, err)
	}
	membership, outlets, tokenFile := found[0], filepath.Join(n.dir, "outlets.yaml"), filepath.Join(n.dir, "token")
	secret, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(secret))
	damage := func(text string) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(*testing.T, string) {}
	for name, c := range map[string]struct {
		file    string
		happens func(*testing.T, string) // once the file is set aside
		want    string
	}{
		"domain is damaged":   {membership, damage("nonsense"), "degraded: domain"},
		"domain is gone":      {membership, gone, "degraded: domain"},
		"outlets are damaged": {outlets, damage("publish: {"), "degraded: outlets"},
		"token is gone":       {tokenFile, gone, "degraded: token"},
	} {
		t.Run(name, func(t *testing.T) {
			n.t = t
			healthy := func(want string) {
				t.Helper()
				n.await("/readyz to say "+want, time.Minute, func() bool {
					_, got := n.asked("/readyz", "")
					return got == want
				})
			}
			healthy("ok")
			aside := c.file + ".aside"
			if err := os.Rename(c.file, aside); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			c.happens(t, c.file)
			healthy(c.want)
			status := n.ok("node", "status")
			if part, bad := strings.CutPrefix(c.want, "degraded: "); bad != strings.Contains(status, "Degraded:") || bad && !strings.Contains(status, part+": ") {
				t.Errorf("status of a node that is %q:\n%s", c.want, status)
			}
			n.ok("job", "submit", "-e", "echo goes on", "-c", logsDir(t))
			if code, body := n.asked("/v1/node", token); code != http.StatusOK {
				t.Errorf("with its token: %d %s", code, body)
			}
			if code, _ := n.asked("/v1/node", token+"x"); code != http.StatusUnauthorized {
				t.Errorf("control: with another token: %d", code)
			}
			if err := os.Rename(aside, c.file); err != nil {
				if err := os.Remove(c.file); err != nil {
					t.Fatal(err)
				}
			}
			healthy("ok")
		})
	}
	n.t = t
}
