package dataset_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const killedDir = "DATASET_TEST_DIR"

// TestKilledChild is the part of TestKilled that does not come to its end.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killedDir)
	if dir == "" {
		return // TestKilled runs it
	}
	b := newBench(t, dir)
	if _, err := b.Append(t.Context(), tenant, "logs", add("day2", b.file(t, "two"))); err != nil {
		t.Fatal(err)
	}
}

// An append that is killed between two of its steps leaves the version before,
// or its own; what it has pinned besides goes with the next sweep.
func TestKilled(t *testing.T) {
	for point, version := range map[string]int{"root-pinned": 2, "head-pinned": 2, "committed": 3} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			t.Run("before", func(t *testing.T) {
				b := newBench(t, dir)
				b.create(t, wire.DatasetWish{Name: "logs", Keep: 2})
				if _, err := b.Append(t.Context(), tenant, "logs", add("day1", b.file(t, "one"))); err != nil {
					t.Fatal(err)
				}
			})
			cmd := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
			cmd.Env = append(os.Environ(), killedDir+"="+dir, failpoint.Env+"=dataset."+point+"=kill")
			out, err := cmd.CombinedOutput()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %v: %s", err, out)
			}
			b := newBench(t, dir)
			v, err := b.Resolve(t.Context(), tenant, jobspec.DatasetRef{Name: "logs"})
			if err != nil || v.Version != version {
				t.Fatalf("Resolve = version %d, %v, want %d", v.Version, err, version)
			}
			want := []string{"dataset/local/logs/h1", "dataset/local/logs/h2", "dataset/local/logs/v1", "dataset/local/logs/v2"}
			if version == 3 {
				want = []string{"dataset/local/logs/h1", "dataset/local/logs/h2", "dataset/local/logs/h3", "dataset/local/logs/v2", "dataset/local/logs/v3"}
			}
			if got := b.pinned(t); slices.Equal(got, want) {
				t.Errorf("pins are %v right after the kill, which leaves nothing to sweep", got)
			}
			b.swept(t, want)
			if d, err := b.Append(t.Context(), tenant, "logs", add("day2", b.file(t, "two"))); err != nil || d.Version != 3 {
				t.Errorf("the append again = version %d, %v, want 3", d.Version, err)
			}
		})
	}
}

// swept runs the keeper until no other pins are there than some.
func (b *bench) swept(t *testing.T, want []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Run(ctx) }()
	defer func() { cancel(); <-done }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !slices.Equal(b.pinned(t), want); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("pins are %v, want %v", b.pinned(t), want)
		}
	}
}
