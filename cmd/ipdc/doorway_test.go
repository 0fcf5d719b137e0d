package main

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
)

// listens reports whether anything does where the door is.
func listens(t *testing.T, r listening) bool {
	t.Helper()
	if len(r.Listen) != 1 || len(r.Addrs) != 1 {
		t.Fatalf("the door was to be somewhere: %+v", r)
	}
	p := strings.Split(r.Listen[0], "/")
	c, err := net.Dial("tcp", net.JoinHostPort(p[2], p[4]))
	if err == nil {
		c.Close()
	}
	return err == nil
}

// Nothing listens for strangers until somebody was invited, and no longer than
// somebody may come; the address is the same all the time.
func TestDoorIsOpenForInvited(t *testing.T) {
	dir := t.TempDir()
	key, err := identity.LoadOrCreate(filepath.Join(dir, "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{set: settings{Path: dir, DoorListen: "/ip4/127.0.0.1/tcp/0"}, key: key, log: slog.New(slog.DiscardHandler)}
	defer func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	clock := time.Now().Add(-3 * time.Hour)
	w := n.newDoorway(func() time.Time { return clock })
	if _, err := w.files.Born(key.ID(), "host", clock); err != nil {
		t.Fatal(err)
	}
	if err := w.choose(t.Context()); err != nil {
		t.Fatal(err)
	}
	look := func(what string, want bool) {
		t.Helper()
		before, err := readListening(dir, doorFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.look(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		r, err := readListening(dir, doorFile)
		if err != nil {
			t.Fatal(err)
		}
		if got := listens(t, r); got != want {
			t.Errorf("%s: the door is open: %v, want %v", what, got, want)
		}
		if diff := cmp.Diff(before, r); diff != "" {
			t.Errorf("%s: the door has moved:\n%s", what, diff)
		}
	}
	invite := func() domain.Token {
		t.Helper()
		addrs, err := doorAddrs(dir)
		if err != nil {
			t.Fatal(err)
		}
		token, err := w.files.Invite(key, domain.InviteOptions{Addrs: addrs, Expires: time.Hour}, clock)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	look("a fresh node", false)
	stamp, err := w.files.InvitesStamp()
	if err != nil {
		t.Fatal(err)
	}
	invite()
	if now, err := w.files.InvitesStamp(); err != nil || now == stamp {
		t.Errorf("an invitation does not show: %q, %v", now, err)
	}
	look("with an invitation", true)
	clock = clock.Add(time.Hour + time.Second)
	look("the invitation is over", false)

	clock = time.Now() // as the newcomer has it
	token := invite()
	look("with another one", true)
	newcomer := &app{set: settings{Path: t.TempDir()}, out: t.Output(), err: t.Output()}
	if err := newcomer.join(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(24 * time.Hour)
	look("somebody was let in", true)
	n.set.DoorListen = off
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := readListening(dir, doorFile); err != nil || listens(t, r) {
		t.Errorf("a door that is off is open, %v", err)
	}
	if err := w.choose(t.Context()); err != nil {
		t.Fatal(err)
	}
	if addrs, err := doorAddrs(dir); err != nil || len(addrs) > 0 {
		t.Errorf("a door that is off is named in invitations: %v, %v", addrs, err)
	}
}
