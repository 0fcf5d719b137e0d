package sidecar_test

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// absent is a Kubo that goes when something is to be pinned.
type absent struct {
	ipfs.Node
	at   string        // in the pin's name
	may  chan struct{} // it does not go before this is closed
	back int           // it is there again after so many calls; 0 = never

	mu   sync.Mutex
	gone bool
	met  int // calls in vain
}

func (a *absent) look(ctx context.Context, pin string) error {
	if strings.Contains(pin, a.at) {
		select {
		case <-a.may:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = a.gone || strings.Contains(pin, a.at) && a.met == 0
	if a.gone = a.gone && (a.back == 0 || a.met < a.back); a.gone {
		a.met++
		return ipfs.ErrUnavailable
	}
	return nil
}

func (a *absent) Add(ctx context.Context, name string, fill func(ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error) {
	if err := a.look(ctx, name); err != nil {
		return jobspec.CID{}, err
	}
	return a.Node.Add(ctx, name, fill)
}

func (a *absent) Pin(ctx context.Context, name string, c jobspec.CID) error {
	if err := a.look(ctx, name); err != nil {
		return err
	}
	return a.Node.Pin(ctx, name, c)
}

func (a *absent) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if err := a.look(ctx, ""); err != nil {
		return nil, err
	}
	return a.Node.Get(ctx, c)
}

func (a *absent) Has(ctx context.Context, c jobspec.CID) (bool, error) {
	if err := a.look(ctx, ""); err != nil {
		return false, err
	}
	return a.Node.Has(ctx, c)
}

// wentBack runs a task at a holder that has so much patience, and returns its job
// at its end. There is another holder when happens is called.
func (f *fleet) wentBack(patience time.Duration, happens func()) jobspec.Job {
	f.t.Helper()
	owner, first, second := f.nodes[0], f.nodes[1], f.nodes[2]
	first.patience = patience
	f.lease(2 * time.Second)
	root, files := f.dataset(1)
	id := owner.submit(partOf(root, files, 1))
	owner.untilJob(id, "is tried", func(j wire.Job) bool { return len(j.Attempts) > 0 })
	f.copyPart(root, files, "1", second)
	happens()
	return owner.final(id).Job
}

// A task of another member's job does not wait for ever at a node whose Kubo is
// away or whose disk is full: its owner has it tried elsewhere. One that comes
// back in time keeps the task.
func TestF34F16TaskGoesBackToItsOwner(t *testing.T) {
	for name, c := range map[string]struct {
		at   string
		back int
	}{
		"before the program":             {at: "/shard/"},
		"with its outputs":               {at: "/attempt/"},
		"before the program, comes back": {at: "/shard/", back: 2},
		"with its outputs, comes back":   {at: "/attempt/", back: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			patience := 100 * time.Millisecond
			if c.back > 0 {
				patience = time.Hour
			}
			kubo := &absent{Node: f.nodes[1].ipfs, at: c.at, back: c.back, may: make(chan struct{})}
			f.nodes[1].ipfs = kubo
			f.decided(f.wentBack(patience, func() { close(kubo.may) }), c.back > 0)
		})
	}
	t.Run("full disk", func(t *testing.T) {
		d := faultfs.New(t)
		f := newFleet(t, 3)
		f.nodes[1].moveTo(d)
		f.nodes[1].slow(endless)
		j := f.wentBack(100*time.Millisecond, func() {
			f.untilAway(1)
			d.Fail(faultfs.Fault{Op: faultfs.Change, Errno: syscall.ENOSPC})
			f.nodes[1].state.Release()
		})
		d.Mend()
		f.decided(j, false)
	})
}

// decided checks that a job has succeeded, by its first holder or the second.
func (f *fleet) decided(j jobspec.Job, byFirst bool) {
	f.t.Helper()
	if j.State != jobspec.JobSucceeded {
		f.t.Fatalf("job is %s: %+v, want succeeded", j.State, j.Failure)
	}
	by := f.nodes[2]
	if byFirst {
		by = f.nodes[1]
	}
	full, err := f.nodes[0].Job(f.t.Context(), "t", j.ID.String())
	if err != nil {
		f.t.Fatal(err)
	}
	done := makers(full.Attempts, jobspec.AttemptRecorded, jobspec.AttemptCleaned)
	if len(done) != 1 || done[0] != by.key.ID().String() {
		f.t.Errorf("the task was done by %v, want %s: %+v", done, by.key.ID(), full.Attempts)
	}
	if gone := makers(full.Attempts, jobspec.AttemptAbandoned); len(gone) != 1 && !byFirst || byFirst && len(gone) > 0 {
		f.t.Errorf("%d attempts were given up", len(gone))
	}
}
