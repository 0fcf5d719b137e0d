package merge_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

// A hundred parts of a thousand entries make one directory of 100,000, the very
// one that packing all of it gives. The memory for it is that of the entries'
// names and links.
func TestUnionOf100000(t *testing.T) {
	const parts, each = 100, 1000
	ctx, s := t.Context(), ipfstest.NewMemory()
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // a disk takes minutes for so many files
	}
	whole := t.TempDir()
	contents := make([]merge.File, 200) // in all: the names are what is merged
	for i := range contents {
		var err error
		if contents[i].CID, contents[i].Size, err = pack.File(ctx, s, bytes.NewReader(make([]byte, i))); err != nil {
			t.Fatal(err)
		}
	}
	lists := make([][]merge.File, parts)
	for i := range parts * each {
		f := contents[i%len(contents)]
		f.Path = fmt.Sprintf("entry-%06d.dat", i)
		if err := os.WriteFile(filepath.Join(whole, f.Path), make([]byte, f.Size), 0o600); err != nil {
			t.Fatal(err)
		}
		lists[i%parts] = append(lists[i%parts], f)
	}
	roots := make([]jobspec.CID, parts)
	for p := range roots {
		var err error
		if roots[p], err = merge.Files(ctx, s, lists[p]); err != nil {
			t.Fatal(err)
		}
	}
	lists = nil
	want, before := packed(t, s, whole), heap()
	w := &watched{Memory: s}
	got, err := merge.Union(ctx, w, roots)
	if err != nil || got != want {
		t.Errorf("union of %d parts = %s, %v, want what pack makes of all: %s", parts, got, err, want)
	}
	if grown := w.most - before; w.most == 0 || grown > 50<<20 {
		t.Errorf("the heap grew by %d MB, want at most half a kB an entry", grown>>20)
	}
	t.Logf("the heap grew by %d MB", (w.most-before)>>20)
}

// watched looks at the heap now and then.
type watched struct {
	*ipfstest.Memory
	puts int
	most int64
}

func (w *watched) Put(ctx context.Context, c jobspec.CID, data []byte) error {
	if w.puts++; w.puts%200 == 1 {
		w.most = max(w.most, heap())
	}
	return w.Memory.Put(ctx, c, data)
}

// heap is what is reachable, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
