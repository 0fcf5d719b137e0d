package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// contents is everything that the API shows of a database.
type contents struct {
	Jobs     []jobspec.Job
	Plans    []jobspec.Plan
	Attempts []jobspec.Attempt
	Events   []jobspec.Event
	Memories map[jobspec.CID]store.Remembered
	Facts    []string
}

const sampleJobs = 12

func writeSample(t *testing.T, st *store.Store) {
	t.Helper()
	for i := range sampleJobs {
		job := newJob("local", fmt.Sprint("job ", i))
		job.Spec.Labels = map[string]string{"n": fmt.Sprint(i)}
		id := jobspec.AttemptID{Job: job.ID, Try: 1}
		update(t, st, func(tx *store.Tx) error {
			err := errors.Join(tx.PutJob(job), tx.PutPlan(job.ID, jobspec.Plan{SpecCID: mustCID(t, i)}),
				tx.PutAttempt(jobspec.Attempt{ID: id, Token: "token", State: jobspec.AttemptRunning}),
				tx.Remember(mustCID(t, i), store.Remembered{Job: job.ID, Outputs: []store.Output{{CID: mustCID(t, -i)}}, Created: epoch}),
				tx.PutIdempotencyKey("local", fmt.Sprint(i), job.ID, mustCID(t, i)), tx.PutMeta(fmt.Sprint(i), "fact"))
			for range 4 {
				_, err2 := tx.AppendEvent(jobspec.Event{Job: job.ID, Type: jobspec.EventState})
				err = errors.Join(err, err2)
			}
			return err
		})
	}
}

func readAll(t *testing.T, st *store.Store) (all contents, err error) {
	t.Helper()
	err = st.View(t.Context(), func(tx *store.Tx) error {
		var keys []jobspec.CID
		jobs, errs := tx.Jobs(store.Filter{})
		all.Jobs = jobs
		for i := range sampleJobs {
			keys = append(keys, mustCID(t, i))
			id, c, ok, err := tx.IdempotencyKey("local", fmt.Sprint(i))
			fact, known, err2 := tx.Meta(fmt.Sprint(i))
			all.Facts = append(all.Facts, fmt.Sprint(id, c, ok, fact, known))
			errs = errors.Join(errs, err, err2)
		}
		for _, j := range jobs {
			plan, err := tx.Plan(j.ID)
			events, err2 := tx.Events(j.ID, 0, 0)
			all.Plans, all.Events = append(all.Plans, plan), append(all.Events, events...)
			errs = errors.Join(errs, err, err2)
		}
		live, err := tx.LiveAttempts()
		all.Attempts = live
		memories, err2 := tx.Recall(keys)
		all.Memories = memories
		return errors.Join(errs, err, err2)
	})
	return all, err
}

// openDamaged opens a copy of the files, of which the last one may be changed,
// and fails the test when the store opens with other contents than want. It
// returns the refusal.
func openDamaged(t *testing.T, files map[string][]byte, want contents) (refused error) {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir) // a thousand are opened
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st, err := store.Open(t.Context(), filepath.Join(dir, "state.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		if jobspec.AsFailure(err).Hint == "" {
			t.Errorf("refused without saying what to do: %v", err)
		}
		return err
	}
	defer st.Close()
	got, err := readAll(t, st)
	if err != nil || !reflect.DeepEqual(want, got) { // a Diff takes as long as all the rest
		t.Errorf("opened without a word, with other contents: %v\n%s", err, cmp.Diff(want, got, equateCIDs))
	}
	return nil
}

// sample returns the files of a database that was closed, and one that was
// killed, with what both hold.
func sample(t *testing.T) (closed, killed map[string][]byte, want contents) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	st := openAt(t, path)
	writeSample(t, st)
	read := func(names ...string) map[string][]byte {
		files := map[string][]byte{}
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = b
		}
		return files
	}
	killed = read("state.db", "state.db-wal")
	want, err := readAll(t, st)
	if err != nil || len(want.Jobs) != sampleJobs {
		t.Fatalf("sample of %d jobs: %v", len(want.Jobs), err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a closed store leaves its log: %v", err)
	}
	return read("state.db"), killed, want
}

func with(files map[string][]byte, name string, b []byte) map[string][]byte {
	changed := map[string][]byte{}
	for n, old := range files {
		changed[n] = old
	}
	changed[name] = b
	if b == nil {
		delete(changed, name)
	}
	return changed
}

func TestF26DamagedFiles(t *testing.T) {
	closed, killed, want := sample(t)
	db, wal := closed["state.db"], killed["state.db-wal"]
	for name, tt := range map[string]struct {
		files   map[string][]byte
		refused bool
	}{
		"closed, sound":         {closed, false},
		"killed, sound":         {killed, false},
		"zero length":           {with(closed, "state.db", []byte{}), true},
		"not a database":        {with(closed, "state.db", bytes.Repeat([]byte("text "), 2000)), true},
		"only the header":       {with(closed, "state.db", db[:100]), true},
		"log deleted":           {with(killed, "state.db-wal", nil), true},
		"database deleted":      {with(killed, "state.db", nil), true},
		"later format":          {with(closed, "state.db", flip(db, 18*8+7)), true},
		"header of the log":     {with(killed, "state.db-wal", flip(wal, 17*8)), true},
		"first frame":           {with(killed, "state.db-wal", flip(wal, 100*8)), true},
		"salt of a frame":       {with(killed, "state.db-wal", flip(wal, (32+8)*8)), true},
		"log of another one":    {with(closed, "state.db-wal", otherLog(t)), true},
		"torn last transaction": {with(killed, "state.db-wal", append(bytes.Clone(wal), wal[32:32+2000]...)), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := openDamaged(t, tt.files, want); (err != nil) != tt.refused {
				t.Errorf("Open = %v, want a refusal: %v", err, tt.refused)
			}
		})
	}
}

// A sound database of which a file cannot be written is not called damaged: who
// starts the node is told which file it is. The control: with all files its own,
// the same user opens the same database.
func TestF26FilesThatCannotBeWritten(t *testing.T) {
	_, killed, _ := sample(t)
	asRoot := func(path string) error { return os.Chown(path, 0, 0) }
	directory := func(path string) error {
		return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o755), os.Chown(path, testenv.Nobody, -1))
	}
	for _, tt := range []struct {
		name, file string
		spoil      func(path string) error
		says       syscall.Errno
	}{
		{"control", "", nil, 0},
		{"database of another user", "state.db", asRoot, syscall.EACCES},
		{"log of another user", "state.db-wal", asRoot, syscall.EACCES},
		{"index of another user", "state.db-shm", asRoot, syscall.EACCES},
		{"log is a directory", "state.db-wal", directory, syscall.EISDIR},
		{"index is a directory", "state.db-shm", directory, syscall.EISDIR},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := testenv.OpenToAll(t)
			err := os.Chown(dir, testenv.Nobody, -1)
			for _, name := range []string{"state.db", "state.db-wal", "state.db-shm"} {
				path := filepath.Join(dir, name)
				err = errors.Join(err, os.WriteFile(path, killed[name], 0o644), os.Chown(path, testenv.Nobody, -1))
				if name == tt.file {
					err = errors.Join(err, tt.spoil(path))
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			testenv.AsNobody(t, func() {
				st, err := store.Open(t.Context(), filepath.Join(dir, "state.db"), slog.New(slog.DiscardHandler))
				if tt.file == "" {
					if err == nil {
						err = st.Close()
					}
					if err != nil {
						t.Errorf("control: %v", err)
					}
					return
				}
				if err == nil {
					t.Errorf("it opens; Close = %v", st.Close())
					return
				}
				f := jobspec.AsFailure(err)
				if f.Where != filepath.Join(dir, tt.file) || f.Hint == "" || strings.Contains(f.Detail, "damaged") || !strings.Contains(f.Detail, tt.says.Error()) {
					t.Errorf("Open = %v, want that %s cannot be written: %v", err, tt.file, tt.says)
				}
			})
		})
	}
}

// otherLog returns the log of another database that was killed.
func otherLog(t *testing.T) []byte {
	t.Helper()
	_, killed, _ := sample(t)
	return killed["state.db-wal"]
}

func flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

func TestF26TruncatedAnywhere(t *testing.T) {
	closed, _, want := sample(t)
	db := closed["state.db"]
	for n := 0; n < len(db); n += 512 {
		if err := openDamaged(t, with(closed, "state.db", db[:n]), want); err == nil && n < len(db)-4096 {
			t.Errorf("truncated at %d of %d it opens", n, len(db))
		}
	}
}

// flips is how many bits TestF26FlippedBits flips, each in a database of its own.
const flips = 1000

// No flipped bit is ever read as truth: the store refuses to open, or what it
// shows is what was written.
func TestF26FlippedBits(t *testing.T) {
	closed, _, want := sample(t)
	db := closed["state.db"]
	var refused atomic.Int64
	t.Run("flips", func(t *testing.T) {
		const shards = 8
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				rnd := rand.New(rand.NewPCG(26, uint64(shard)))
				for range flips / shards {
					bit := rnd.IntN(len(db) * 8)
					if err := openDamaged(t, with(closed, "state.db", flip(db, bit)), want); err != nil {
						refused.Add(1)
					}
					if t.Failed() {
						t.Fatalf("with bit %d of %d flipped", bit, len(db)*8)
					}
				}
			})
		}
	})
	t.Logf("%d of %d flips refused, the others were in unused space", refused.Load(), flips)
	if refused.Load() == 0 {
		t.Error("no flip was noticed")
	}
}
