package dataset_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// counting counts the blocks that are read and written by Adds.
type counting struct {
	ipfs.Node
	gets, puts int
}

func (c *counting) Add(ctx context.Context, name string, fill func(ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error) {
	return c.Node.Add(ctx, name, func(s ipfs.Session) (jobspec.CID, error) { return fill(countingSession{s, c}) })
}

func (c *counting) Get(ctx context.Context, id jobspec.CID) ([]byte, error) {
	c.gets++
	return c.Node.Get(ctx, id)
}

type countingSession struct {
	ipfs.Session
	c *counting
}

func (s countingSession) Get(ctx context.Context, id jobspec.CID) ([]byte, error) {
	s.c.gets++
	return s.Session.Get(ctx, id)
}

func (s countingSession) Put(ctx context.Context, id jobspec.CID, data []byte) error {
	s.c.puts++
	return s.Session.Put(ctx, id, data)
}

// Vouch implements [ipfs.Voucher].
func (s countingSession) Vouch(id jobspec.CID) { s.Session.(ipfs.Voucher).Vouch(id) }

// An append writes the head and the nodes on the way to what is added, and reads
// no others, however much is there: ten times the entries are one level more.
func TestAppendCost(t *testing.T) {
	b := newBench(t, t.TempDir())
	count := &counting{Node: b.node}
	k := dataset.New(dataset.Config{Key: b.key, Domain: "d", Shared: tenant, Store: b.st, IPFS: count})
	one := b.file(t, "one")
	for _, entries := range []int{10, 2_000, 20_000} {
		files := make([]merge.File, entries)
		for i := range files {
			files[i] = merge.File{Path: fmt.Sprintf("entry-%06d", i), CID: one, Size: 3}
		}
		root, err := b.node.Add(t.Context(), "user/dir", func(s ipfs.Session) (jobspec.CID, error) { return merge.Files(t.Context(), s, files) })
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("n", entries)
		if _, err := k.Create(t.Context(), tenant, wire.DatasetWish{Name: name, From: root.String()}); err != nil {
			t.Fatal(err)
		}
		stored := func() int64 {
			st, err := b.node.Stat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return st.Blocks
		}
		before := stored()
		count.gets, count.puts = 0, 0
		d, err := k.Append(t.Context(), tenant, name, add("new", one))
		if err != nil || d.Entries != entries+1 {
			t.Fatalf("Append to %d entries = %d, %v", entries, d.Entries, err)
		}
		t.Logf("an append to %d entries reads %d blocks and writes %d", entries, count.gets, count.puts)
		if wrote := stored() - before; count.puts > 5 || count.gets > 5 || wrote > int64(count.puts) {
			t.Errorf("an append to %d entries reads %d blocks, writes %d and leaves %d more, want at most 5", entries, count.gets, count.puts, wrote)
		}
	}
}

// A look for leftovers reads which versions there are, and no head of them.
func TestSweepCost(t *testing.T) {
	const versions, sealed = 200, 64 << 10
	b := newBench(t, t.TempDir())
	b.create(t, wire.DatasetWish{Name: "logs"})
	before := b.pinned(t)
	err := b.st.Update(t.Context(), func(tx *store.Tx) error {
		for v := 2; v <= versions; v++ {
			if err := tx.PutDatasetVersion(tenant, "logs", store.DatasetVersion{Version: v, Sealed: make([]byte, sealed), Dropped: true}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var from, to runtime.MemStats
	runtime.ReadMemStats(&from)
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&to)
	if used := to.TotalAlloc - from.TotalAlloc; used > versions*sealed/4 {
		t.Errorf("the look took %d bytes of memory, with heads of %d bytes in all", used, versions*sealed)
	}
	if got := b.pinned(t); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("pins are %v, want %v", got, before)
	}
}
