package main

import (
	"bytes"
	"errors"
	"log/slog"
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

// One look at the domain's file that fails is none; three in a row are said once,
// and so is that it can be read again.
func TestDomainUnread(t *testing.T) {
	var said bytes.Buffer
	n := &node{set: settings{Path: t.TempDir()}, log: slog.New(slog.NewTextHandler(&said, nil))}
	if err := os.WriteFile(n.set.ownTokenFile(), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.swarm = &swarm{node: n, is: domain.Membership{Certificate: domain.Certificate{NotAfter: time.Now().Add(time.Hour)}}}
	n.swarm.unread.Store(unread{})
	bad := errors.New("damaged")
	for i, c := range []struct {
		err            error
		degraded       bool
		errors, mended int // said up to then
	}{
		{bad, false, 0, 0},
		{bad, false, 0, 0},
		{nil, false, 0, 0},
		{bad, false, 0, 0},
		{bad, false, 0, 0},
		{bad, true, 1, 0},
		{bad, true, 1, 0},
		{nil, false, 1, 1},
		{nil, false, 1, 1},
	} {
		n.swarm.reads(c.err)
		got := strings.Join(n.degraded(), "\n")
		if want := map[bool]string{true: "domain: damaged"}[c.degraded]; got != want {
			t.Errorf("look %d: degraded = %q, want %q", i+1, got, want)
		}
		if e, m := strings.Count(said.String(), "level=ERROR"), strings.Count(said.String(), "level=INFO"); e != c.errors || m != c.mended {
			t.Errorf("look %d: %d errors and %d times that it can be read, want %d and %d:\n%s", i+1, e, m, c.errors, c.mended, &said)
		}
	}
}
