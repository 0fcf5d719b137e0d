package sidecar_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// figures are what a simulated job cost and how good its placement was.
type figures struct {
	simSize
	Attempts int
	Local    float64       // share of the bytes that were processed where they lay
	Makespan time.Duration // from the submit to the end of the last task, of the fake clock
	Placed   time.Duration // what it would be if no slot were idle while its node has tasks left
	Ideal    time.Duration // what it would be if all slots had equal shares of the work, wherever the data lies
	Messages float64       // on the bus, for each task
	Bytes    float64       // likewise
	Control  float64       // bytes of lists and plans that were fetched from the owner, for each task
	CPU      time.Duration // processor time for each task without that of the thin workers, but with their half of the bus
	Heap     int64         // bytes in use at the end, of all members
	Rows     float64       // bytes of the owner's databases for each task
}

// measure runs a job of a size.
func measure(t *testing.T, size simSize) (f figures) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, size)
		root := s.dataset()
		synctest.Wait()
		begun, used := time.Now(), processor()
		j := s.run(root)
		f = s.figures(begun, processor()-used-time.Duration(s.thin.Load()), len(j.Attempts))
		if j.ItemsDone != size.Tasks*filesPerTask {
			t.Errorf("%d of %d items done", j.ItemsDone, size.Tasks*filesPerTask)
		}
	})
	return f
}

func (s *simulation) figures(begun time.Time, used time.Duration, attempts int) figures {
	f := figures{simSize: s.size, Attempts: attempts, CPU: used / time.Duration(s.size.Tasks)}
	var local, given int64
	var slots int
	var work time.Duration
	var last time.Time
	for _, w := range s.workers {
		w.mu.Lock()
		local, given, slots = local+w.local, given+w.given, slots+w.slots
		f.Placed = max(f.Placed, w.busy/time.Duration(w.slots))
		if w.ended.After(last) {
			last = w.ended
		}
		w.mu.Unlock()
	}
	for c := range s.homes {
		work += time.Duration(len(s.blocks[c])) * secondPerKiB / 1024
	}
	f.Local = float64(local) / float64(max(given, 1))
	f.Makespan, f.Ideal = last.Sub(begun), work/time.Duration(slots)
	n := float64(s.size.Tasks)
	f.Messages, f.Bytes = float64(s.messages.Load())/n, float64(s.bytes.Load())/n
	f.Control = float64(s.control.Load()) / n
	for _, name := range []string{"state.db", "ipfs/pins.db"} {
		if info, err := os.Stat(filepath.Join(s.owner.dir, name)); err == nil {
			f.Rows += float64(info.Size()) / n
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.Heap = int64(m.HeapInuse)
	return f
}

// processor is the processor time that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Tasks go where their bytes are, and no member waits for another.
func TestScale(t *testing.T) {
	f := measure(t, simSize{Nodes: 20, Tasks: 400, Seed: 1})
	t.Logf("%+v", f)
	if f.Attempts > f.Tasks*21/20 {
		t.Errorf("%d attempts, want one for each of %d tasks and a few backups", f.Attempts, f.Tasks)
	}
	if f.Local < 0.9 {
		t.Errorf("%.2f of the bytes were processed where they lay, want 0.9", f.Local)
	}
	if most := f.Placed * 5 / 4; f.Makespan > most {
		t.Errorf("took %s, want %s: the busiest member's tasks take %s", f.Makespan, most, f.Placed)
	}
	if f.Messages > 30 {
		t.Errorf("%.1f messages a task, want at most 30", f.Messages)
	}
}
