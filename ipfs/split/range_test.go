package split_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

func TestRange(t *testing.T) {
	const size = 5<<20 + 7
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	s := ipfstest.NewMemory()
	c, _, err := pack.File(t.Context(), s, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, size}, {0, 1}, {size - 1, size}, {1 << 20, 2 << 20}, {100, 3<<20 + 1}, {1<<20 - 1, 1<<20 + 1}} {
		before := s.Len()
		got, err := split.Range(t.Context(), s, c, r[0], r[1], ipfs.Budget{})
		if err != nil {
			t.Fatalf("Range(%v) = %v", r, err)
		}
		if made := s.Len() - before; made > 3 {
			t.Errorf("Range(%v) wrote %d blocks, want two borders and a node at most", r, made)
		}
		var b bytes.Buffer
		if _, err := tree.Copy(t.Context(), s, got, &b, ipfs.Budget{}); err != nil || !bytes.Equal(b.Bytes(), data[r[0]:r[1]]) {
			t.Errorf("Range(%v) has %d bytes, %v", r, b.Len(), err)
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {1, 1}, {2, 1}, {0, size + 1}, {size, size + 1}} {
		if _, err := split.Range(t.Context(), s, c, r[0], r[1], ipfs.Budget{}); !refusal.Is(t, err, jobspec.KindSpec) {
			t.Errorf("Range(%v) = %v, want E_SPEC", r, err)
		}
	}
}
