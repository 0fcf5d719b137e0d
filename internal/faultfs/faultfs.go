// Package faultfs is a disk that fails when a test says so: a file system by
// FUSE, kept in memory by a process of its own. It knows what was synced, and
// so what a power loss leaves: after write or rename alone nothing, a name only
// once its directory was synced, too.
//
//	func TestMain(m *testing.M) {
//		faultfs.Serve() // in the process that is the disk it does not return
//		...
//	}
//	d := faultfs.New(t)
//	d.Fail(faultfs.Fault{Op: faultfs.Sync, Name: "state.db-wal", Errno: syscall.EIO})
//	d.CutAfter(3)    // the power goes at the fourth sync: it and all that follows fails
//	d.Lose(dir, 0)   // what a power loss now would leave, in dir
//
// The disk is a process of its own because one that waited in a page fault for
// its own answer could never collect its garbage. Invariant: what Lose gives
// holds nothing that was not synced, but for the torn writes that a seed asks
// for. It is for tests only: nothing of the product imports it.
package faultfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/testenv"
)

// childEnv tells a process to be the disk, and where.
const childEnv = "IPDC_TEST_FAULTFS"

// Op is what a program asks of the disk.
type Op string

// The operations that a Fault can meet.
const (
	Read   Op = "read"
	Write  Op = "write" // also truncate
	Sync   Op = "sync"  // fsync and fdatasync, of files and directories
	Create Op = "create"
	Rename Op = "rename"
	Remove Op = "remove"
	Change Op = "change" // any of them but Read and Sync
)

// Fault is what happens to operations from some moment on. A Read fault is met
// by files that are opened after it was set; what others have read is cached.
type Fault struct {
	Op    Op
	Name  string        // part of the path; "" = any
	Skip  int           // so many operations are well first
	Errno syscall.Errno // 0 = none
	Hold  bool          // no answer until Release or Mend
}

// Disk is a mounted file system.
type Disk struct {
	Dir string // where it is mounted

	t   testing.TB
	mu  sync.Mutex
	in  *json.Encoder
	out *json.Decoder
}

type request struct {
	Do    string // fail, release, mend, cut, lose, hits
	Fault Fault  `json:",omitzero"`
	Count int    `json:",omitzero"`
	To    string `json:",omitzero"`
	Seed  uint64 `json:",omitzero"`
}

type answer struct {
	Err   string
	Count int
}

// New mounts an empty disk, which goes with the test. It needs root and
// /dev/fuse: the part "fuse".
func New(t testing.TB) *Disk {
	t.Helper()
	testenv.Root(t)
	_, err := os.Stat("/dev/fuse")
	testenv.Need(t, "fuse", err)
	d := &Disk{Dir: t.TempDir(), t: t}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+d.Dir)
	cmd.Stderr = os.Stderr
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
	d.in, d.out = json.NewEncoder(in), json.NewDecoder(out)
	var ready answer
	if err = d.out.Decode(&ready); err == nil && ready.Err != "" {
		err = errors.New(ready.Err)
	}
	if err != nil { // nothing is mounted
		in.Close()
		testenv.Need(t, "fuse", fmt.Errorf("mount: %w", errors.Join(err, cmd.Wait())))
	}
	t.Cleanup(func() {
		// What still has files open keeps the disk, as lazily unmounted.
		err := unix.Unmount(d.Dir, unix.MNT_DETACH)
		in.Close()
		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Errorf("end of the disk: %v", err)
		}
	})
	return d
}

func (d *Disk) do(r request) int {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var a answer
	if err := errors.Join(d.in.Encode(r), d.out.Decode(&a)); err != nil {
		d.t.Fatalf("%s: the disk is gone: %v", r.Do, err)
	}
	if a.Err != "" {
		d.t.Fatalf("%s: %s", r.Do, a.Err)
	}
	return a.Count
}

// Fail adds a fault. The first that names an operation holds.
func (d *Disk) Fail(f Fault) { d.t.Helper(); d.do(request{Do: "fail", Fault: f}) }

// Release ends the faults that Hold: what waits goes on.
func (d *Disk) Release() { d.t.Helper(); d.do(request{Do: "release"}) }

// Mend ends all faults, and a cut.
func (d *Disk) Mend() { d.t.Helper(); d.do(request{Do: "mend"}) }

// CutAfter lets so many syncs pass; from the next one on everything but reading
// fails, and nothing reaches the disk.
func (d *Disk) CutAfter(syncs int) { d.t.Helper(); d.do(request{Do: "cut", Count: syncs}) }

// Hits returns how many operations a fault or a cut met since the last Mend.
func (d *Disk) Hits() int { d.t.Helper(); return d.do(request{Do: "hits"}) }

// Lose writes what a power loss at this moment would leave of the disk into an
// empty directory. With a seed, parts of what was not synced are there, too, as
// a disk that was writing leaves them: sectors of 512 bytes, and names.
func (d *Disk) Lose(to string, seed uint64) {
	d.t.Helper()
	d.do(request{Do: "lose", To: to, Seed: seed})
}

// Serve is the disk in the process that New starts; in any other it returns.
func Serve() {
	dir := os.Getenv(childEnv)
	if dir == "" {
		return
	}
	server, disk, err := mount(dir)
	out := json.NewEncoder(os.Stdout)
	if err != nil {
		_ = out.Encode(answer{Err: err.Error()})
		os.Exit(0)
	}
	err = out.Encode(answer{})
	for in := json.NewDecoder(os.Stdin); err == nil; {
		var r request
		if err = in.Decode(&r); err == nil {
			err = out.Encode(disk.serve(r))
		}
	}
	if !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "faultfs:", err)
		os.Exit(1)
	}
	_ = server.Unmount() // done by the test, unless it died
	os.Exit(0)
}
