package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// commitForever says of each job that it was acknowledged.
func commitForever(ctx context.Context, path string) error {
	st, err := store.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		job := newJob("local", strconv.Itoa(i))
		err := st.Update(ctx, func(tx *store.Tx) error {
			err := tx.PutJob(job)
			for range 3 {
				_, err2 := tx.AppendEvent(jobspec.Event{Job: job.ID, Type: jobspec.EventState})
				err = errors.Join(err, err2)
			}
			return err
		})
		if err != nil {
			return err
		}
		fmt.Println(job.ID)
	}
}

// An acknowledged job survives SIGKILL (I1), whole, and the store opens again.
func TestKillDurability(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	acked := 0
	for round := range 4 {
		cmd := childCommand("commit", path)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var ids []jobspec.JobID
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			ids = append(ids, jobspec.JobID(lines.Text()))
			if len(ids) == 20*(round+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // killed
		acked += len(ids)
		st := openAt(t, path)
		view(t, st, func(tx *store.Tx) error {
			for _, id := range ids {
				_, err := tx.Job(id)
				events, err2 := tx.Events(id, 0, 0)
				if err != nil || err2 != nil || len(events) != 3 {
					t.Errorf("acknowledged job %s after SIGKILL: %v, %v, %d events", id, err, err2, len(events))
				}
			}
			all, err := tx.Jobs(store.Filter{})
			if len(all) < acked || len(all) > acked+round+1 {
				t.Errorf("%d jobs, want the %d acknowledged and at most one more per kill", len(all), acked)
			}
			return err
		})
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func holdOpen(ctx context.Context, path string) error {
	st, err := store.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	fmt.Println("open")
	bufio.NewReader(os.Stdin).ReadString('\n')
	return st.Close()
}

func TestF28SecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	cmd := childCommand("hold", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Fatalf("child says %q: %v", line, err)
	}
	begin := time.Now()
	_, err = store.Open(t.Context(), path, nil)
	wantKind(t, err, jobspec.KindConflict)
	if want := fmt.Sprintf("process %d", cmd.Process.Pid); !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("Open = %v, want %q in it", err, want)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("Open took %s, want that it gives up soon", took)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	openAt(t, path)
}

func TestF28SecondOpenInOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	openAt(t, path)
	_, err := store.Open(t.Context(), path, nil)
	wantKind(t, err, jobspec.KindConflict)
}

// Another program, such as a shell on the database, may hold a write lock.
func TestF28ForeignWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := raw(t, path).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err = store.Open(t.Context(), path, nil)
	wantKind(t, err, jobspec.KindConflict)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("Open took %s, want that it gives up soon", took)
	}
}

func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func rawExec(t *testing.T, path, query string) {
	t.Helper()
	db := raw(t, path)
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestF27NewerAndForeignDatabases(t *testing.T) {
	_, present := laterMigrations()
	for name, tt := range map[string]struct{ change, want string }{
		"newer":   {"PRAGMA user_version = 99", fmt.Sprintf("has version 99, this program knows up to %d", present)},
		"foreign": {"PRAGMA application_id = 7", "not a state database of ipdc"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := openAt(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			rawExec(t, path, tt.change)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = store.Open(t.Context(), path, nil)
			if !strings.Contains(fmt.Sprint(err), tt.want) || jobspec.AsFailure(err).Hint == "" {
				t.Errorf("Open = %v, want %q and a hint", err, tt.want)
			}
			after, err := os.ReadFile(path)
			if string(before) != string(after) {
				t.Errorf("the refused database was changed: %v", err)
			}
		})
	}
}

// laterMigrations are those of a later program.
func laterMigrations() (all fstest.MapFS, present int) {
	names, err := fs.Glob(store.Migrations, "migrations/*.sql")
	if err != nil {
		panic(err)
	}
	all = fstest.MapFS{}
	for _, name := range names {
		b, err := fs.ReadFile(store.Migrations, name)
		if err != nil {
			panic(err)
		}
		all[name] = &fstest.MapFile{Data: b}
	}
	more := "CREATE TABLE more (x TEXT) STRICT; ALTER TABLE jobs ADD COLUMN more TEXT;"
	all[fmt.Sprintf("migrations/%04d_more.sql", len(names)+1)] = &fstest.MapFile{Data: []byte(more)}
	return all, len(names)
}

func upgradeToLater(ctx context.Context, path string) error {
	all, _ := laterMigrations()
	_, err := store.OpenWith(ctx, path, all)
	return err
}

func runKilled(t *testing.T, part, path string) {
	t.Helper()
	cmd := childCommand(part, path, failpoint.Env+"=store.migrate.before-commit=kill")
	out, err := cmd.CombinedOutput()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Fatalf("child was not killed: %v: %s", err, out)
	}
}

func TestF27KilledInAnUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	job := newJob("local", "kept")
	first := openAt(t, path)
	update(t, first, func(tx *store.Tx) error { return tx.PutJob(job) })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	has := func(st *store.Store) {
		t.Helper()
		view(t, st, func(tx *store.Tx) error { _, err := tx.Job(job.ID); return err })
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	runKilled(t, "migrate", path)
	has(openAt(t, path)) // still the old version
	later, present := laterMigrations()
	upgraded, err := store.OpenWith(t.Context(), path, later)
	if err != nil {
		t.Fatalf("upgrade after a killed one: %v", err)
	}
	has(upgraded)
	if _, err := store.Open(t.Context(), path, nil); err == nil {
		t.Error("the old program opens the upgraded database")
	}
	has(openAt(t, fmt.Sprintf("%s.v%d.bak", path, present)))
}

func TestKilledWhenFirstMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	runKilled(t, "migrate", path)
	openAt(t, path)
}
