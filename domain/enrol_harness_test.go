package domain_test

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
)

var someAddrs = []domain.Addr{"/ip4/192.0.2.1/tcp/4001"}

func invite(t testing.TB, n node, o domain.InviteOptions) domain.Token {
	t.Helper()
	o.Addrs = someAddrs
	token, err := n.Invite(n.key, o, now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// door is a's door at a time.
func door(a node, at time.Time) *domain.Door {
	return domain.NewDoor(domain.DoorConfig{
		Files: a.Files, Key: a.key, Now: func() time.Time { return at },
		Members: func() []domain.Addr { return []domain.Addr{"/ip4/192.0.2.1/tcp/4002"} },
		Doors:   func() []domain.Addr { return []domain.Addr{someAddrs[0].At(a.key.ID())} },
	})
}

// talk joins a client to a door over a pipe and returns the client's error.
func talk(t testing.TB, d *domain.Door, peer identity.ID, client func(io.ReadWriteCloser) error) error {
	t.Helper()
	here, there := net.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		_ = d.Serve(t.Context(), peer, there) // what it refuses shows at the client
		return nil
	})
	err := client(here)
	here.Close()
	if e := g.Wait(); e != nil {
		t.Error(e)
	}
	return err
}

func join(t testing.TB, a, b node, token domain.Token, at time.Time) (m domain.Membership, err error) {
	t.Helper()
	err = talk(t, door(a, at), b.key.ID(), func(s io.ReadWriteCloser) (err error) {
		m, err = domain.Join(t.Context(), b.Files, b.key.ID(), token, a.key.ID(), s, at)
		return err
	})
	return m, err
}

func letIn(t testing.TB, a, b node) domain.Membership {
	t.Helper()
	m, err := join(t, a, b, invite(t, a, domain.InviteOptions{}), now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func refresh(t testing.TB, a, b node, at time.Time) (m domain.Membership, changed bool, err error) {
	t.Helper()
	err = talk(t, door(a, at), b.key.ID(), func(s io.ReadWriteCloser) (err error) {
		m, changed, err = domain.Refresh(t.Context(), b.Files, a.key.ID(), s, at)
		return err
	})
	return m, changed, err
}
