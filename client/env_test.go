package client_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/client"
)

func TestFromEnv(t *testing.T) {
	var auth string
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{}`))
	}))
	defer node.Close()
	t.Setenv(client.EnvAddress, "")
	t.Setenv(client.EnvTokenFile, "")
	if _, err := client.FromEnv(); err == nil || !strings.Contains(err.Error(), "ipdc NAME") {
		t.Errorf("FromEnv without an address = %v, want what to do", err)
	}
	t.Setenv(client.EnvAddress, node.URL)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"": "", file: "Bearer secret"} {
		t.Setenv(client.EnvTokenFile, path)
		c, err := client.FromEnv()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Node(t.Context()); err != nil || auth != want {
			t.Errorf("with token file %q the node is asked with %q, %v; want %q", path, auth, err, want)
		}
		c.Close()
	}
	t.Setenv(client.EnvTokenFile, file+"x")
	if _, err := client.FromEnv(); err == nil {
		t.Error("FromEnv with a token file that is missing = nil, want an error")
	}
}
