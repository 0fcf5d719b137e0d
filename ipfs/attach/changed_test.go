package attach_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A block that is not what it was is never served, is named with its place, and
// is served again once the file is as it was.
func TestDamage(t *testing.T) {
	s := newSector(t, "a", 8)
	b := newBench(t)
	path := b.write("a.car", s.car)
	b.attach(path)
	victim, err := s.mem.Get(t.Context(), s.list[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(s.car, victim)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(data byte) { // as a disk does, without a trace in the inode
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{data}, int64(at))
			err = errors.Join(err, f.Close(), os.Chtimes(path, st.ModTime(), st.ModTime()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip(victim[0] ^ 1)
	if ok, _ := b.node.Has(t.Context(), s.list[0]); !ok {
		t.Error("a block counts as damaged before anybody has read it")
	}
	_, err = b.node.Get(t.Context(), s.list[0])
	if !errors.Is(err, jobspec.KindBlockHash.Error()) || !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		t.Fatalf("Get of a damaged block = %v, want E_BLOCK_HASH, and to be fetched elsewhere", err)
	}
	f := b.only()
	if f.State != wire.AttachedDamaged || len(f.Damage) != 1 || f.Damage[0].CID != s.list[0] || f.Damage[0].Offset >= int64(at) || f.Damage[0].Offset < int64(at)-50 {
		t.Errorf("listed as %+v, want the one damaged block before byte %d", f, at)
	}
	fail := jobspec.AsFailure(err)
	for _, w := range []string{path, s.list[0].String(), fmt.Sprint(f.Damage[0].Offset)} {
		if !strings.Contains(fail.Detail, w) || !strings.Contains(fail.Hint, "ipdc data") {
			t.Errorf("failure %+v does not say %q, or what to do", fail, w)
		}
	}
	b.restart()
	if ok, _ := b.node.Has(t.Context(), s.list[0]); ok || b.only().State != wire.AttachedDamaged {
		t.Error("a restart forgot the damage")
	}
	if _, err := b.node.Get(t.Context(), s.list[1]); err != nil {
		t.Errorf("another block: %v", err)
	}
	if out, err := b.set.Verify(t.Context(), path); err != nil || len(out.Files) != 1 || len(out.Files[0].Damage) != 1 {
		t.Errorf("Verify = %+v, %v, want the damage", out, err)
	}
	flip(victim[0])
	if out, err := b.set.Verify(t.Context(), ""); err != nil || out.Files[0].State != wire.AttachedOK {
		t.Errorf("Verify of the mended file = %+v, %v", out, err)
	}
	if got, err := b.node.Get(t.Context(), s.list[0]); err != nil || !bytes.Equal(got, victim) {
		t.Errorf("Get after that = %v", err)
	}
}

// A file that was cut, written to, replaced or removed has no blocks until it is
// read again; the node goes on.
func TestChanged(t *testing.T) {
	s, other := newSector(t, "a", 8), newSector(t, "b", 8)
	for name, c := range map[string]struct {
		do    func(path string) error
		state wire.AttachedState
		word  string
	}{
		"cut":      {func(p string) error { return os.Truncate(p, int64(len(s.car)/2)) }, wire.AttachedChanged, "bytes when it was indexed"},
		"written":  {func(p string) error { return os.Chtimes(p, time.Now(), time.Now().Add(time.Hour)) }, wire.AttachedChanged, "was written to"},
		"replaced": {func(p string) error { return errors.Join(os.WriteFile(p+".new", s.car, 0o644), os.Rename(p+".new", p)) }, wire.AttachedChanged, "replaced"},
		"gone":     {os.Remove, wire.AttachedGone, "not there any more"},
		"a link":   {func(p string) error { return errors.Join(os.Rename(p, p+".moved"), os.Symlink(p+".moved", p)) }, wire.AttachedChanged, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			path := b.write("a.car", s.car)
			b.attach(path)
			if err := b.node.Pin(t.Context(), "user/x", s.root); err != nil {
				t.Fatal(err)
			}
			if err := c.do(path); err != nil {
				t.Fatal(err)
			}
			if f := b.only(); f.State != c.state || f.Why == "" {
				t.Errorf("state is %s (%s), want %s", f.State, f.Why, c.state)
			}
			if ok, _ := b.node.Has(t.Context(), s.root); ok {
				t.Error("its blocks count as stored")
			}
			if data, err := b.node.Get(t.Context(), s.root); data != nil || !errors.Is(err, jobspec.KindFetchTimeout.Error()) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.word) {
				t.Errorf("Get = %d bytes, %v, want a refusal that names the file and says %q", len(data), err, c.word)
			}
			if f, err := b.set.File(s.root); f != nil || err != nil {
				t.Errorf("File = %v, %v, want none", f, err)
			}
			b.restart()
			if _, err := b.node.GC(t.Context()); err != nil {
				t.Errorf("a collection stops at the pin of a file that is gone: %v", err)
			}
			// What lies there now is served once it was read.
			if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, other.car, 0o644)); err != nil {
				t.Fatal(err)
			}
			if out, err := b.set.Verify(t.Context(), path); err != nil || len(out.Refused) != 0 || out.Files[0].Roots[0] != other.root {
				t.Errorf("Verify = %+v, %v, want the new root", out, err)
			}
			if _, err := b.node.Get(t.Context(), other.root); err != nil {
				t.Error(err)
			}
		})
	}
}

// Pins of what was detached do not keep a collection from its work, and are
// remembered no longer than they are there.
func TestDetached(t *testing.T) {
	s := newSector(t, "a", 4)
	b := newBench(t)
	b.attach(b.write("a.car", s.car))
	if err := b.node.Pin(t.Context(), "job/x/input", s.root); err != nil {
		t.Fatal(err)
	}
	id := b.only().ID
	if _, err := b.set.Detach(t.Context(), b.node, id[:3]); !errors.Is(err, jobspec.KindNotFound.Error()) || !strings.Contains(err.Error(), "first 4 characters of an id") {
		t.Errorf("Detach by 3 characters of an id = %v, want E_NOT_FOUND that says how many it takes", err)
	}
	if _, err := b.set.Detach(t.Context(), b.node, id[:4]); err != nil {
		t.Fatal(err)
	}
	if ok, _ := b.node.Has(t.Context(), s.root); ok || len(b.set.List()) != 0 {
		t.Error("it is served after detach")
	}
	b.restart()
	names := func() (n int) {
		entries, err := os.ReadDir(filepath.Join(b.dir, "attached"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for range 2 {
		if _, err := b.node.GC(t.Context()); err != nil {
			t.Fatalf("gc with the pin: %v", err)
		}
		if names() != 2 {
			t.Fatalf("%d files are kept of what a pin names, want record and index", names())
		}
	}
	if err := b.node.Unpin(t.Context(), "job/x/input"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.node.GC(t.Context()); err != nil || names() != 0 {
		t.Errorf("gc without the pin = %v, %d files are left, want none", err, names())
	}
	if _, err := b.set.Detach(t.Context(), b.node, s.root.String()); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("Detach again = %v, want E_NOT_FOUND", err)
	}
}
