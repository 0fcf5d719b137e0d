package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/faultfs"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// childEnv tells the test binary to play a part in a process of its own.
const childEnv = "STORE_TEST_CHILD"

var children map[string]func(ctx context.Context, path string) error

// What tests write lies in memory where it can: the real disk's syncs prove
// nothing here, as power failures and broken disks are faultfs's.
func TestMain(m *testing.M) {
	faultfs.Serve()
	testenv.InMemory()
	children = map[string]func(ctx context.Context, path string) error{
		"commit": commitForever, "hold": holdOpen, "migrate": upgradeToLater,
	}
	if part := os.Getenv(childEnv); part != "" {
		if err := children[part](context.Background(), os.Getenv("STORE_TEST_PATH")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func childCommand(part, path string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childEnv+"="+part, "STORE_TEST_PATH="+path), env...)
	return cmd
}

func openAt(t testing.TB, path string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("Open(%s): %v", path, err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return st
}

func openNew(t testing.TB) *store.Store {
	return openAt(t, filepath.Join(t.TempDir(), "state.db"))
}

func update(t testing.TB, st *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := st.Update(t.Context(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t testing.TB, st *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := st.View(t.Context(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

var epoch = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

func newJob(tenant, name string) jobspec.Job {
	return jobspec.Job{
		ID: jobspec.NewJobID(epoch), Tenant: tenant, State: jobspec.JobAccepted, Submitted: epoch,
		Spec: jobspec.Spec{Version: jobspec.Version, Name: name, Run: jobspec.Run{Image: "python", Command: []string{"true"}}},
	}
}

func mustCID(t testing.TB, n int) jobspec.CID {
	t.Helper()
	c, err := testCID(n)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testCID(n int) (jobspec.CID, error) {
	sum, err := multihash.Sum(fmt.Append(nil, n), multihash.SHA2_256, -1)
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, sum)), err
}
