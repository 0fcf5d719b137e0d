package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/internal/p2phost"
)

// doorway keeps the door shut until somebody is expected there: nothing listens
// for strangers on a node that has invited nobody.
type doorway struct {
	*node
	files domain.Files
	door  *domain.Door
	host  atomic.Pointer[p2phost.Host] // nil while the door is shut
	of    domain.ID                    // whose door it is
	now   func() time.Time
}

const (
	// doorEvery is how soon a running node notices an invitation that a
	// command makes.
	doorEvery = 500 * time.Millisecond
	// doorAtLeast is how soon it notices that the last one is over, and that
	// its own certificate is due.
	doorAtLeast = time.Minute
)

func (n *node) newDoorway(now func() time.Time) *doorway {
	w := &doorway{node: n, files: domain.Files{Dir: n.set.Path, Log: n.log}, now: now}
	w.door = domain.NewDoor(domain.DoorConfig{Files: w.files, Key: n.key, Logger: n.log, Members: n.memberAddrs, Doors: w.addrs, Now: now})
	return w
}

// begin opens the door when it is to be open, or else chooses where it will be,
// for invitations to name. It goes on looking until the node closes.
func (w *doorway) begin(ctx context.Context) error {
	err := w.look(ctx)
	if err == nil && w.host.Load() == nil {
		err = w.choose(ctx)
	}
	if err != nil {
		return errors.Join(err, w.shut())
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { w.watch(ctx) })
	w.onClose(func() error {
		cancel()
		running.Wait()
		return w.shut()
	})
	return nil
}

// choose takes a port, notes it and gives it back.
func (w *doorway) choose(ctx context.Context) error {
	m, err := w.files.Load()
	if err != nil || !m.CanInvite() {
		return err
	}
	if w.set.DoorListen == off {
		return w.nowhere()
	}
	h, err := w.listenDoor(ctx, m)
	if err != nil {
		return err
	}
	return h.Close()
}

// nowhere makes invitations name no address, and keeps the port for later.
func (w *doorway) nowhere() error {
	r, err := readListening(w.set.Path, doorFile)
	if err != nil || len(r.Addrs) == 0 {
		return err
	}
	r.Addrs = nil
	return writeListening(w.set.Path, doorFile, r)
}

// watch looks when an invitation was made or spent, and from time to time.
func (w *doorway) watch(ctx context.Context) {
	tick := time.NewTicker(doorEvery)
	defer tick.Stop()
	seen, said := "", ""
	var looked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		stamp, err := w.files.InvitesStamp()
		if err == nil && stamp == seen && time.Since(looked) < doorAtLeast {
			continue
		}
		seen, looked = stamp, time.Now()
		if err == nil {
			err = w.look(ctx)
		}
		if err == nil {
			said = ""
		} else if err.Error() != said { // else it is said each time
			said = err.Error()
			w.log.Error("the door stays as it is", "err", err)
		}
	}
}

// look opens or shuts the door as it is needed now.
func (w *doorway) look(ctx context.Context) error {
	m, changed, err := w.files.Renew(w.now())
	if err != nil {
		return err
	}
	if changed {
		w.log.Info("this node has given itself a new certificate", "until", m.Certificate.NotAfter)
	}
	expects, err := w.files.Expects(m, w.now())
	if err != nil {
		return err
	}
	expects = expects && w.set.DoorListen != off
	open := w.host.Load() != nil
	if open && (!expects || w.of != m.ID()) {
		w.log.Info("the door is shut: nobody is expected")
		err, open = w.shut(), false
	}
	if expects && !open {
		err = errors.Join(err, w.open(ctx, m))
		if err == nil {
			w.log.Info("the door is open for those who were invited", "addrs", w.addrs())
		}
	}
	return err
}

func (w *doorway) open(ctx context.Context, m domain.Membership) error {
	h, err := w.listenDoor(ctx, m)
	if err != nil {
		return err
	}
	w.host.Store(h)
	w.of = m.ID()
	h.Answer(ctx, domain.Protocol, w.door.Serve)
	return nil
}

func (w *doorway) shut() error {
	if h := w.host.Swap(nil); h != nil {
		return h.Close()
	}
	return nil
}

// addrs are where the door is for others, while it is open.
func (w *doorway) addrs() []domain.Addr {
	h := w.host.Load()
	if h == nil {
		return nil
	}
	return reachable(h.Addrs(), w.key.ID())
}
