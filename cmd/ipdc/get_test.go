package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/wire"
)

// K07: a disk that becomes full during get, and an interrupt, end it with an
// exit code that says so. Nothing is left of what was not whole, neither under
// its name nor under another one, and a second get has all of it.
func TestK07GetIsWholeOrNothing(t *testing.T) {
	m, src := ipfstest.NewMemory(), t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(src, name), bytes.Repeat([]byte(name), 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := pack.Tree(t.Context(), m, src, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if err := car.Write(t.Context(), &content, m, root.CID); err != nil {
		t.Fatal(err)
	}
	halfway := make(chan struct{}, 1) // two thirds of the answer are sent, and no more comes
	var hang atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/resolve", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"cid":"`+root.CID.String()+`"}`)
	})
	mux.HandleFunc("GET /v1/dag/{cid}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", wire.TypeCAR)
		if !hang.Load() {
			_, _ = w.Write(content.Bytes())
			return
		}
		_, _ = w.Write(content.Bytes()[:content.Len()*2/3])
		_ = http.NewResponseController(w).Flush()
		halfway <- struct{}{}
		<-r.Context().Done()
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()

	get := func(dest string) (*exec.Cmd, *bytes.Buffer) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		cmd, said := exec.CommandContext(ctx, "ipdc", "get", root.CID.String(), dest), &bytes.Buffer{}
		cmd.Env = append(os.Environ(), "IPDC_API="+srv.URL, "IPDC_PATH="+filepath.Join(src, "none"))
		cmd.Stderr = said
		return cmd, said
	}
	gets := func(t *testing.T, dest string) { // control
		hang.Store(false)
		if cmd, said := get(dest); cmd.Run() != nil || len(names(t, dest)) != 3 {
			t.Errorf("control: get ends with %s and %q: %s", cmd.ProcessState, names(t, dest), said)
		}
	}

	t.Run("interrupt", func(t *testing.T) {
		dir := t.TempDir()
		hang.Store(true)
		cmd, said := get(filepath.Join(dir, "dest"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = cmd.Wait() }() // its status says how it ended
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for half := false; !half || len(names(t, dir)) == 0; { // until it writes
			select {
			case <-halfway:
				half = true
			case <-ended:
				t.Fatalf("get ends with %s before its interrupt: %s", cmd.ProcessState, said)
			case <-tick.C:
			}
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		<-ended
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("get ends with %s, want exit code 130: %s", cmd.ProcessState, said)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("%q are left", left)
		}
		gets(t, filepath.Join(dir, "dest"))
	})
	t.Run("full disk", func(t *testing.T) {
		testenv.Root(t)
		hang.Store(false)
		for size, fits := range map[string]bool{"2m": false, "16m": true} {
			dir := t.TempDir()
			testenv.Need(t, "root", unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
			t.Cleanup(func() {
				if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			if fits {
				gets(t, filepath.Join(dir, "dest"))
				continue
			}
			cmd, said := get(filepath.Join(dir, "dest"))
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || !exit.Exited() || !strings.Contains(said.String(), syscall.ENOSPC.Error()) {
				t.Errorf("get to a disk of %s = %v, want a failure that names the full disk: %s", size, err, said)
			}
			if left := names(t, dir); len(left) > 0 {
				t.Errorf("%q are left on a disk of %s", left, size)
			}
		}
	})
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
