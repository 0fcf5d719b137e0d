package domain_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/domain"
)

// Who makes up codes waits for nobody and makes nobody wait: the lock is for
// those who have one. Who has one gives up when its time is over.
func TestMadeUpCodeTakesNoLock(t *testing.T) {
	a, m := founded(t, "lab")
	b := newNode(t)
	good := invite(t, a, domain.InviteOptions{})
	other, _ := founded(t, "lab")
	wrong := invite(t, other, domain.InviteOptions{}).Forge(newKey(t), func(f *domain.Token) { f.Issuer, f.Name, f.Admin = a.key.ID(), m.Name, m.Admin })

	lock, err := os.OpenFile(filepath.Join(a.Dir, "domain.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	try := func(token domain.Token, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		here, there := net.Pipe()
		var g errgroup.Group
		g.Go(func() error { door(a, now).Serve(ctx, b.key.ID(), there); return nil })
		_, err := domain.Join(t.Context(), b.Files, b.key.ID(), token, a.key.ID(), here, now)
		g.Wait()
		return err
	}
	if err := try(wrong, time.Minute); !says(err, "unknown here") {
		t.Errorf("a code that is made up = %v, want that it is unknown", err)
	}
	if err := try(good, 3*time.Second); err == nil {
		t.Error("let in while the domain was locked")
	}
	lock.Close()
	if _, err := join(t, a, b, good, now); err != nil {
		t.Errorf("once the lock is free: %v", err) // the control
	}
}

// A door looks at few requests at a time, and those who say nothing are none.
func TestDoorLooksAtFew(t *testing.T) {
	a, _ := founded(t, "lab")
	var mu sync.Mutex
	busy, most := 0, 0
	full, goOn := make(chan struct{}), make(chan struct{})
	d := domain.NewDoor(domain.DoorConfig{
		Files: a.Files, Key: a.key, Now: func() time.Time { return now },
		Members: func() []domain.Addr { // asked for while a request is looked at
			mu.Lock()
			busy++
			if most = max(most, busy); busy == domain.AtOnce {
				close(full)
			}
			mu.Unlock()
			<-goOn
			mu.Lock()
			busy--
			mu.Unlock()
			return nil
		},
	})
	var g errgroup.Group
	for range 2 * domain.AtOnce { // silent ones
		here, there := net.Pipe()
		defer here.Close()
		g.Go(func() error { d.Serve(t.Context(), newKey(t).ID(), there); return nil })
	}
	members := make([]node, 3*domain.AtOnce)
	tokens := make([]domain.Token, len(members))
	for i := range members {
		members[i], tokens[i] = newNode(t), invite(t, a, domain.InviteOptions{})
	}
	var joins errgroup.Group
	for i, b := range members {
		joins.Go(func() error {
			return talk(t, d, b.key.ID(), func(s io.ReadWriteCloser) error {
				_, err := domain.Join(t.Context(), b.Files, b.key.ID(), tokens[i], a.key.ID(), s, now)
				return err
			})
		})
	}
	<-full
	close(goOn)
	if err := joins.Wait(); err != nil {
		t.Errorf("Join = %v", err)
	}
	if most != domain.AtOnce {
		t.Errorf("%d requests at once, want %d", most, domain.AtOnce)
	}
}

// A door is needed while an invitation is open, and once somebody was let in.
func TestExpects(t *testing.T) {
	a, _ := founded(t, "lab")
	expects := func(n node, at time.Time) bool {
		t.Helper()
		m, err := n.Load()
		if err != nil {
			t.Fatal(err)
		}
		ok, err := n.Expects(m, at)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if expects(a, now) {
		t.Error("nobody was invited, and somebody is expected")
	}
	token := invite(t, a, domain.InviteOptions{Expires: time.Hour})
	if !expects(a, now) || !expects(a, now.Add(time.Hour)) {
		t.Error("somebody was invited, and nobody is expected")
	}
	if expects(a, now.Add(time.Hour+time.Second)) {
		t.Error("the invitation is over, and somebody is expected")
	}
	b := newNode(t)
	if _, err := join(t, a, b, token, now); err != nil {
		t.Fatal(err)
	}
	if !expects(a, after(2)) {
		t.Error("who was let in is not expected back")
	}
	if expects(b, now) {
		t.Error("a member that may let nobody in expects somebody")
	}
}
