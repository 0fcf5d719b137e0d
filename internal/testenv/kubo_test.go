package testenv_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

func TestKubo(t *testing.T) {
	k := testenv.Kubo(t)
	resp, err := http.Post(k.API+"/api/v0/config/show", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), `"Type":"none"`) {
		t.Errorf("the daemon's configuration has no routing of type none: %v\n%s", err, body)
	}
	if addrs := k.Run("id", "-f", "<addrs>"); addrs != "" {
		t.Errorf("it listens for peers on %s", addrs)
	}
	if resp, err := http.Get(k.Gateway + "/ipfs/bafkqaaa"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the gateway answers %v, %v, want 200", resp, err)
	} else {
		resp.Body.Close()
	}
	k.Stop()
	if _, err := http.Post(k.API+"/api/v0/version", "", nil); err == nil {
		t.Error("it answers after Stop")
	}
	k.Start()
	k.Run("repo", "stat")
}
