package keylock_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/internal/keylock"
)

func TestLock(t *testing.T) {
	var locks keylock.Locks
	var wg sync.WaitGroup
	n := 0 // guarded by the lock of "a"; the race detector checks that
	for range 50 {
		wg.Go(func() {
			unlock, err := locks.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			n++
		})
	}
	wg.Wait()
	if n != 50 {
		t.Errorf("%d of 50 had the lock", n)
	}
}

func TestLockOfAnotherKeyAndContext(t *testing.T) {
	var locks keylock.Locks
	unlock, err := locks.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := locks.Lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more time")
	cancel(why)
	if _, err := locks.Lock(ctx, "a"); !errors.Is(err, why) {
		t.Errorf("Lock of a key that is taken = %v, want the context's cause", err)
	}
	unlock()
	again, err := locks.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	again()
}
