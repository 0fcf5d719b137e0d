package sidecar

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func attempt(job string, task int) jobspec.AttemptID {
	return jobspec.AttemptID{Job: jobspec.JobID(job), Task: task, Try: 1}
}

func cpus(n int) jobspec.Resources {
	return jobspec.Resources{CPU: jobspec.CPU(n) * 1000, Memory: 1, Disk: 1}
}

// The first in line is not overtaken by later tasks that would fit.
func TestPlacerKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacer(wire.Capacity{CPU: 2000, Memory: 100, Disk: 100}, nil)
		silent := func(string) {}
		if err := p.acquire(t.Context(), attempt("a", 0), cpus(1), silent); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		want := func(job string, n int) {
			wg.Go(func() {
				if err := p.acquire(t.Context(), attempt(job, 0), cpus(n), silent); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, job)
			})
			synctest.Wait()
		}
		want("c", 1) // fits beside a
		want("e", 1)
		want("d", 2)
		p.release(cpus(1)) // a ends: one is free, but d is first and needs two
		synctest.Wait()
		if got := strings.Join(order, ""); got != "c" {
			t.Fatalf("served %q after one release, want c only", got)
		}
		p.release(cpus(1)) // c ends
		synctest.Wait()
		p.release(cpus(2)) // d ends
		wg.Wait()
		if got := strings.Join(order, ""); got != "cde" {
			t.Errorf("served in order %q, want cde", got)
		}
	})
}

func TestPlacerSaysWhy(t *testing.T) {
	p := newPlacer(wire.Capacity{CPU: 2000, Memory: 100, Disk: 100}, nil)
	p.take(cpus(2))
	ctx, cancel := context.WithCancelCause(t.Context())
	var why string
	err := p.acquire(ctx, attempt("a", 0), cpus(1), func(s string) {
		why = s
		cancel(errStopped)
	})
	if !errors.Is(err, errStopped) {
		t.Errorf("acquire = %v, want the cause of the cancel", err)
	}
	if !strings.Contains(why, "CPU: asks 1, free 0") {
		t.Errorf("why = %q, want the numbers", why)
	}
	p.release(cpus(2))
	if free := p.snapshot(); free.CPU != 2000 {
		t.Errorf("free = %+v after all has been given back", free)
	}
}

// While the machine is busy with other programs one task at a time runs, and
// the others go on when it no longer is, or when that one has ended.
func TestPlacerStepsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := "other programs use 1.9 of 2 processors"
		p := newPlacer(wire.Capacity{CPU: 4000, Memory: 100, Disk: 100}, func(jobspec.Bytes) string { return busy })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.watch(ctx, time.Second)
		if free := p.offer(); free.CPU != 4000 {
			t.Errorf("free = %+v where nothing runs, want all", free)
		}
		var whys []string
		ran := make(chan int, 3)
		for i := range 3 {
			go func() {
				if err := p.acquire(ctx, attempt("a", i), cpus(1), func(why string) { whys = append(whys, why) }); err == nil {
					ran <- i
				}
			}()
			synctest.Wait()
		}
		if len(ran) != 1 || len(whys) != 2 || whys[0] != "waits: "+busy+"; one task at a time starts meanwhile" {
			t.Fatalf("%d tasks run, the others say %q", len(ran), whys)
		}
		if free := p.offer(); free != (wire.Capacity{}) {
			t.Errorf("free = %+v, want nothing for other members", free)
		}
		if got := p.outlook(cpus(1)); !strings.Contains(got, busy) {
			t.Errorf("outlook = %q", got)
		}
		p.release(cpus(1)) // the first one ends
		synctest.Wait()
		if len(ran) != 2 {
			t.Fatalf("%d tasks have run after the first one ended, want 2", len(ran))
		}
		time.Sleep(heldFor / 2)
		synctest.Wait()
		if len(ran) != 2 {
			t.Fatalf("%d tasks have run while the second one does, want 2", len(ran))
		}
		time.Sleep(heldFor)
		synctest.Wait()
		if len(ran) != 3 {
			t.Errorf("%d tasks have run beside one without an end, want all", len(ran))
		}
		busy = ""
		p.release(cpus(1))
		if err := p.acquire(ctx, attempt("b", 0), cpus(1), func(string) {}); err != nil {
			t.Errorf("acquire on a machine that is not busy: %v", err)
		}
	})
}

// What has been granted a moment ago counts as used, until it shows.
func TestPlacerCountsFreshMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		available := jobspec.Bytes(5)
		p := newPlacer(wire.Capacity{CPU: 8000, Memory: 100, Disk: 100}, func(memory jobspec.Bytes) string {
			if memory <= available {
				return ""
			}
			return "memory is short"
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.watch(ctx, time.Second)
		need := jobspec.Resources{CPU: 1000, Memory: 2, Disk: 1}
		ran := make(chan int, 4)
		for i := range 4 {
			go func() {
				if p.acquire(ctx, attempt("a", i), need, func(string) {}) == nil {
					ran <- i
				}
			}()
			synctest.Wait()
		}
		if len(ran) != 2 {
			t.Errorf("%d tasks of 2 bytes run at once where 5 are available, want 2", len(ran))
		}
		time.Sleep(3 * time.Second) // what runs turned out to need nothing
		synctest.Wait()
		if len(ran) != 4 {
			t.Errorf("%d tasks run later, want 4", len(ran))
		}
	})
}
