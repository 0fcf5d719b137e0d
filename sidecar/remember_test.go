package sidecar_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// blockFile returns where the block store has a block.
func (b *bench) blockFile(c jobspec.CID) string {
	b.t.Helper()
	data, err := b.ipfs.Get(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	var found string
	err = filepath.WalkDir(filepath.Join(b.dir, "ipfs", "blocks"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		stored, err := os.ReadFile(path)
		if bytes.Equal(stored, data) {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		b.t.Fatalf("block %s is nowhere below %s: %v", c, b.dir, err)
	}
	return found
}

// lose takes a block out of the block store.
func (b *bench) lose(c jobspec.CID) {
	b.t.Helper()
	if err := os.Remove(b.blockFile(c)); err != nil {
		b.t.Fatal(err)
	}
}

// damage flips a bit of a stored block.
func (b *bench) damage(c jobspec.CID) {
	b.t.Helper()
	file := b.blockFile(c)
	data, err := os.ReadFile(file)
	data[len(data)-1] ^= 1
	if err := errors.Join(err, os.Chmod(file, 0o644), os.WriteFile(file, data, 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// done submits a job, follows it to its success, and checks how many of its
// tasks were run and how many remembered.
func (b *bench) done(s jobspec.Spec, ran, remembered int) wire.Job {
	b.t.Helper()
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded || len(j.Attempts) != ran || j.Remembered != remembered {
		b.t.Fatalf("job = %s %+v, %d tasks run and %d remembered, want %d and %d", j.State, j.Failure, len(j.Attempts), j.Remembered, ran, remembered)
	}
	return j
}

// What shards gave stays remembered when garbage is collected, whatever became
// of their directories in the result. One that is gone all the same is run
// again, and no other.
func TestShardsAreRemembered(t *testing.T) {
	for _, how := range []jobspec.Merge{jobspec.MergeUnion, jobspec.MergeConcat, jobspec.MergeShards} {
		t.Run(string(how), func(t *testing.T) {
			b := newBench(t)
			s := inShards(b.input("a", "b"), 2, "DUMMY_COPY=/inputs:/outputs/copy", "DUMMY_WRITE=/outputs/same:x")
			s.Merge = how
			first := b.done(s, 2, 0)
			for what, harm := range map[string]func(jobspec.CID){"GC": nil, "lost": b.lose, "damaged": b.damage} {
				want := 0
				if harm != nil {
					harm(first.Attempts[0].Output)
					want = 1
				}
				b.restart() // waits until what only the job needed is unpinned
				if _, err := b.ipfs.GC(t.Context()); err != nil && harm == nil {
					t.Fatal(err)
				}
				again := b.done(s, want, 2-want)
				if again.Result != first.Result {
					t.Errorf("%s: result %s, want %s", what, again.Result, first.Result)
				}
			}
		})
	}
}

// What a job had done before it failed is remembered too.
func TestShardsOfAFailedJobAreRemembered(t *testing.T) {
	b := newBench(t)
	b.cap.CPU = 1000 // one at a time
	b.slow(func(n int64) time.Duration {
		if n == 3 {
			return time.Hour
		}
		return 0
	})
	b.restart()
	s := inShards(b.input("a", "b", "c"), 3, "DUMMY_COPY=/inputs:/outputs/copy")
	s.Retry = jobspec.Retry{Attempts: 1}
	id := b.submit(s)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		j, err := b.Job(t.Context(), "t", id)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no third task is running: %+v, %v", j.Attempts, err)
		}
		last := slices.IndexFunc(j.Attempts, func(a jobspec.Attempt) bool { return a.State == jobspec.AttemptRunning })
		if len(j.Attempts) == 3 && last >= 0 {
			b.state.Vanish(sidecar.ObjectPrefix(b.key.ID()) + j.Attempts[last].ID.String())
			break
		}
	}
	if j := b.final(id); j.State != jobspec.JobFailed || !j.Partial.Defined() {
		t.Fatalf("job = %s %+v, want a failure with a partial output", j.State, j.Failure)
	}
	b.restart() // waits until what only the job needed is unpinned
	if _, err := b.ipfs.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.done(s, 1, 2)
}

// A block that is damaged in the store fails no job for ever: what was to be
// remembered is run again, which mends it.
func TestDamagedResultIsMadeAnew(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_WRITE=/outputs/a:some text")
	first := b.done(s, 1, 0)
	leaf, err := tree.Resolve(t.Context(), b.ipfs, first.Result, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	for what, harm := range map[string]jobspec.CID{"directory": first.Result, "file": leaf} {
		b.damage(harm)
		if again := b.done(s, 1, 0); again.Result != first.Result {
			t.Errorf("result after damage to its %s is %s, want %s", what, again.Result, first.Result)
		}
		b.done(s, 0, 1)
	}
}

// Of a job's tries, only the last one of each task is in what a failed job
// leaves.
func TestPartialOfSeveralTries(t *testing.T) {
	b := newBench(t)
	s := inShards(b.input("a", "b"), 1, "DUMMY_WRITE=/outputs/p:partial", "DUMMY_EXIT=1")
	s.Merge = jobspec.MergeConcat
	s.Retry = jobspec.Retry{Attempts: 2, On: []jobspec.Kind{jobspec.KindExit}}
	j := b.final(b.submit(s))
	if got := b.outputs(j.Partial); len(j.Attempts) != 2 || got["p"] != "partial" {
		t.Errorf("partial output after %d tries = %q, want the last one's", len(j.Attempts), got)
	}
}

// A plan shows as remembered what the job then does not run, and nothing else:
// an item's batch is not remembered as a task, though a shard with the same
// items has its key.
func TestPlanOfItemsAfterShards(t *testing.T) {
	b := newBench(t)
	s := inShards(b.input("a"), 1, "DUMMY_WRITE=/outputs/a:x", "DUMMY_WRITE_REPORT=/ipdc/report/report.jsonl:"+`{"type":"item","path":"a","outputs":["a"]}`+"\n")
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedList
	shard := b.done(s, 1, 0)
	s.Split = jobspec.Split{}
	p := b.planned(s)
	if len(p.Tasks) != 1 || p.Tasks[0].Key != shard.Attempts[0].Receipt.TaskKey {
		t.Fatalf("Plan = %+v, want the key of the shard", p)
	}
	if p.Tasks[0].Remembered != "" {
		t.Errorf("Plan says that the task is remembered by %s", p.Tasks[0].Remembered)
	}
	b.done(s, 1, 0)
}
