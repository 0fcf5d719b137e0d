package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

// sectorSize is how large the CAR of TestAttachedSector is; IPDC_TEST_SECTOR=2GiB
// makes it a small sector.
func sectorSize(t *testing.T) int64 {
	size, err := jobspec.ParseBytes("8MiB")
	if text := os.Getenv("IPDC_TEST_SECTOR"); text != "" {
		size, err = jobspec.ParseBytes(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return int64(size)
}

// writeSector writes a CAR of 128 files of random bytes in two directories.
func writeSector(t testing.TB, path string, size int64) jobspec.CID {
	t.Helper()
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{7})
	buf := make([]byte, size/128)
	for i := range 128 {
		_, _ = random.Read(buf)
		binary.BigEndian.PutUint64(buf, uint64(i))
		name := filepath.Join(dir, fmt.Sprint("d", i%2), fmt.Sprintf("f%03d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, buf, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem := ipfstest.NewMemory()
	res, err := pack.Tree(t.Context(), mem, dir, pack.Options{})
	if err == nil {
		_, err = car.WriteOnce(t.Context(), f, mem, res.CID)
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return res.CID
}

// onDisk is what lies on the disk below a directory, in bytes. Outputs volumes
// are sparse files of their own, and count as what they take.
func onDisk(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it goes while it is looked at
		}
		if d.Name() == "mnt" || d.Name() == "car" && d.IsDir() {
			return fs.SkipDir
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	return total
}

// watchDisk looks every 20 ms what lies below directories, and sends the most
// of each when ctx ends.
func watchDisk(ctx context.Context, dirs ...string) <-chan []int64 {
	peaks := make(chan []int64, 1)
	go func() {
		most := make([]int64, len(dirs))
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for i, dir := range dirs {
				most[i] = max(most[i], onDisk(dir))
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		peaks <- most
	}()
	return peaks
}

// overSector is what a job over an attached sector took.
type overSector struct {
	attached, took time.Duration
	extra, staged  int64 // bytes on the disk at most: more than before, and those of them that were staged
}

// runsOver attaches a sector, and runs a program for each file in it.
func (n *node) runsOver(path string, root jobspec.CID, out string) (o overSector) {
	n.t.Helper()
	o.attached = timed(func() {
		if got := strings.TrimSpace(n.ok("data", "attach", path, "--label", "mine")); got != root.String() {
			n.t.Fatalf("data attach printed %q, want %s", got, root)
		}
	})
	before := onDisk(n.dir)
	ctx, cancel := context.WithCancel(n.t.Context())
	peaks := watchDisk(ctx, n.dir, filepath.Join(n.dir, "inputs"))
	o.took = timed(func() {
		n.ok("job", "submit", "-e", "head -c 8 | od -An -tx1 | tr -d ' \\n'", "-c", root.String(), "--out", out)
	})
	cancel()
	most := <-peaks
	o.extra, o.staged = most[0]-before, most[1]
	return o
}

// A sector is attached, run over file by file with less than 5 % more on the disk
// at any time, and shown as it is; a member gets its blocks; a damaged one is
// named.
func TestAttachedSector(t *testing.T) {
	n := newNode(t, "--cpu", "2")
	size := sectorSize(t)
	data := t.TempDir()
	path := filepath.Join(data, "sector.car")
	root := writeSector(t, path, size)
	out := t.TempDir()
	o := n.runsOver(path, root, filepath.Join(out, "r"))
	if got := n.ok("data", "list", "-o", "wide"); !strings.Contains(got, path) || !strings.Contains(got, "ok") || !strings.Contains(got, root.String()) {
		t.Errorf("data list:\n%s", got)
	}
	t.Logf("attach %s, job %s over %s in place; at most %.1f MB more on the disk, %.1f %%, %.1f MB of it staged",
		show(o.attached), show(o.took), jobspec.Bytes(size), float64(o.extra)/1e6, 100*float64(o.extra)/float64(size), float64(o.staged)/1e6)
	// Of a small one, what any job takes is more than 5 %: outputs volumes, records,
	// and batches of 1 MiB.
	if limit := max(size/20, 28<<20); o.extra > limit {
		t.Errorf("%d bytes more were on the disk, want at most %d", o.extra, limit)
	}
	if limit := max(size/20, 6<<20); o.staged == 0 || o.staged > limit { // 6 of 8 batches
		t.Errorf("%d bytes were staged at a time, want more than none and at most %d", o.staged, limit)
	}
	if got := files(t, filepath.Join(out, "r")); len(got) != 128 || got["d1/f003"] != "0000000000000003" {
		t.Errorf("the result has %d files, d1/f003 is %q", len(got), got["d1/f003"])
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n.ok("job", "submit", "-e", "cat /inputs.car | head -c 100000 > /outputs/head; wc -c < /inputs.car > /outputs/size", "--once",
		"-c", root.String(), "--as", "car", "--split", "none", "--out", filepath.Join(out, "car"))
	got := files(t, filepath.Join(out, "car"))
	if strings.TrimSpace(got["size"]) != fmt.Sprint(len(want)) || !bytes.Equal([]byte(got["head"]), want[:100000]) {
		t.Errorf("the program saw a CAR of %q bytes, want the file's %d", got["size"], len(want))
	}
	if copied := onDisk(filepath.Join(n.dir, "cars")); copied > 1<<20 {
		t.Errorf("%d bytes of CARs were copied", copied)
	}
	spoil(t, path, int64(len(want)/2))
	if r := n.fails(7, "data", "verify", "mine"); !strings.Contains(r.stderr, path) {
		t.Errorf("data verify said:\n%s", r.stderr)
	}
	n.ok("data", "detach", path)
	if now, err := os.Stat(path); err != nil || now.Size() != int64(len(want)) {
		t.Errorf("the file after detach: %v, %v", now, err)
	}
}

// A sector that is attached at one member is worked at there, and nothing of it
// moves; who is told to work elsewhere fetches what he reads, and no more.
func TestSectorOfAnotherMember(t *testing.T) {
	provider, owner := newMember(t), newMember(t, "--label", "name=owner")
	owner.joins(provider)
	const size = 8 << 20
	path := filepath.Join(t.TempDir(), "sector.car")
	root := writeSector(t, path, size)
	provider.ok("data", "attach", path)

	before, sent := owner.metric(contentIn), provider.metric(contentIn)
	there := owner.ok("job", "submit", "-e", "wc -c", "--cache", "off", "-c", root.String())
	j := owner.job("@last")
	for _, a := range j.Attempts {
		if a.Node != provider.peerID() {
			t.Errorf("task %d ran at %s, and the sector lies at %s", a.ID.Task, a.Node, provider.peerID())
		}
	}
	if in, back := owner.metric(contentIn)-before, provider.metric(contentIn)-sent; len(j.Attempts) == 0 || in >= size/128 || back >= size/128 {
		t.Errorf("%d attempts; %d bytes came to the owner and %d to the provider, a file has %d", len(j.Attempts), in, back, size/128)
	}

	before = owner.metric(contentIn)
	here := owner.ok("job", "submit", "-e", "wc -c", "--cache", "off", "-c", root.String()+"/d1", "--require", "label.name=owner")
	for _, a := range owner.job("@last").Attempts {
		if a.Node != owner.peerID() {
			t.Errorf("task %d ran at %s, and the owner alone has the label", a.ID.Task, a.Node)
		}
	}
	if in := owner.metric(contentIn) - before; in < size/2 || in > size/2+size/16 {
		t.Errorf("%d bytes came to the owner, which reads %d of the %d", in, size/2, size)
	}
	got := owner.got(here)
	if len(got) != 64 || strings.TrimSpace(got["f003"]) != fmt.Sprint(size/128) {
		t.Errorf("the owner's own run gives %d files, f003 has %q bytes", len(got), got["f003"])
	}
	for name, text := range owner.got(there + "/d1") {
		if got[name] != text {
			t.Errorf("%s: %q there, %q here", name, text, got[name])
		}
	}
	if copied := onDisk(filepath.Join(provider.dir, "ipfs")); copied > size/2 {
		t.Errorf("the provider's store has %d bytes, and the sector %d", copied, size)
	}
}

func spoil(t *testing.T, path string, at int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
}
