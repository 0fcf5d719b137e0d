package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/domain"
)

// A node whose certificate has expired says so, and not before.
func TestF72CertificateExpired(t *testing.T) {
	for name, c := range map[string]struct {
		end  time.Time
		want string
	}{
		"it holds": {time.Now().Add(time.Hour), ""},
		"expired":  {time.Now().Add(-time.Hour), "certificate: "},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{set: settings{Path: t.TempDir()}}
			if err := os.WriteFile(n.set.ownTokenFile(), []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			n.swarm = &swarm{node: n, is: domain.Membership{Certificate: domain.Certificate{NotAfter: c.end}}}
			n.swarm.unread.Store(unread{})
			if got := strings.Join(n.degraded(), "\n"); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("degraded = %q, want %q", got, c.want)
			}
		})
	}
}
