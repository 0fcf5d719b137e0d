package split_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/jobspec"
)

// claims is a dataset of one file that declares a size over one small leaf.
func claims(b *dagtest.Builder, size uint64) jobspec.CID {
	leaf := b.Raw([]byte("line\n"))
	return b.Dir(b.PB(dagtest.UnixFS{Type: dagtest.TypeFile, Filesize: size, Blocksizes: []uint64{size}}, leaf).As("f")).CID
}

// doubled is a dataset of one file of 2^levels times the text, in so many
// blocks.
func doubled(b *dagtest.Builder, text string, levels int) jobspec.CID {
	n := b.Raw([]byte(text))
	for range levels {
		n = b.File(n, n)
	}
	return b.Dir(n.As("f")).CID
}

// refused splits and wants E_LIMIT with a hint and words of the detail.
func refused(t *testing.T, b *dagtest.Builder, root jobspec.CID, o split.Options, want string) {
	t.Helper()
	before := b.Len()
	_, err := split.Split(t.Context(), b.Memory, root, o)
	if !errors.Is(err, jobspec.KindLimit.Error()) {
		t.Fatalf("Split(%+v) = %v, want E_LIMIT", o, err)
	}
	f := jobspec.AsFailure(err)
	if f.Hint == "" || !strings.Contains(f.Detail, want) {
		t.Errorf("Split(%+v) = %v (hint %q), want a hint and %q", o, err, f.Hint, want)
	}
	if b.Len() != before {
		t.Errorf("Split(%+v) wrote %d blocks before it was refused", o, b.Len()-before)
	}
}

// Two blocks that declare 2 EiB must not become 2^45 borders.
func TestShardsThatAreOnlyDeclared(t *testing.T) {
	for _, size := range []uint64{200_000 * 64 << 10, 1 << 61} {
		b := dagtest.New(t)
		root := claims(b, size)
		refused(t, b, root, split.Options{By: jobspec.SplitLines, Size: 64 << 10}, "at most 100000")
	}
	b := dagtest.New(t)
	var shards []string
	for i := range 3 {
		shards = append(shards, strings.Repeat("x\n", 40<<10)+strings.Repeat("\n", i))
	}
	root := b.Dir(b.Raw([]byte(shards[0])).As("0"), b.Raw([]byte(shards[1])).As("1"), b.Raw([]byte(shards[2])).As("2")).CID
	if got := do(t, b.Memory, root, split.Options{By: jobspec.SplitLines, Size: 64 << 10}); len(got) != 6 {
		t.Errorf("honest files give %d shards, want 6", len(got))
	}
}

// A file of one leaf, very often, has too many parts to be linked one by one.
func TestLeavesThatRepeat(t *testing.T) {
	b := dagtest.New(t)
	refused(t, b, doubled(b, "text\n", 22), split.Options{By: jobspec.SplitLines, Into: 2}, "blocks")
	b = dagtest.New(t)
	if got := do(t, b.Memory, doubled(b, "text\n", 12), split.Options{By: jobspec.SplitLines, Into: 2}); len(got) != 2 {
		t.Errorf("a file of 4096 leaves gives %d shards, want 2", len(got))
	}
}

// What has no line end for 1 GiB is no text, and is not read any further.
func TestNoLineEnd(t *testing.T) {
	b := dagtest.New(t)
	text := strings.Repeat("x", 1<<20)
	refused(t, b, doubled(b, text, 18), split.Options{By: jobspec.SplitLines, Into: 2}, "no line end in the 1GiB")
}
