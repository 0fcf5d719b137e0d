package shuffle_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/shuffle"
)

// A key stays where it is for ever: results are remembered by task.
func TestHashStays(t *testing.T) {
	want := map[string]int{"": 4342, "a": 8315, "the": 6849, "\x00\xff": 2616, strings.Repeat("x", 1000): 6794}
	got := map[string]int{}
	for k := range want {
		got[k] = shuffle.Hash(10_000).Of([]byte(k))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("partitions (-want +got):\n%s", d)
	}
}

func TestHashSpreads(t *testing.T) {
	for _, n := range []int{2, 7, 64, 1000} {
		by, count := shuffle.Hash(n), make([]int, n)
		for i := range 200 * n {
			count[by.Of(fmt.Append(nil, i))]++
		}
		for p, c := range count {
			if c < 120 || c > 290 {
				t.Errorf("of %d partitions number %d has %d keys, want about 200", n, p, c)
			}
		}
	}
}

func TestRange(t *testing.T) {
	by := shuffle.Range([][]byte{[]byte("b"), []byte("b"), []byte("c\x00")})
	for key, want := range map[string]int{"": 0, "a\xff": 0, "b": 2, "c": 2, "c\x00": 3, "\xff": 3} {
		if got := by.Of([]byte(key)); got != want {
			t.Errorf("Of(%q) = %d, want %d", key, got, want)
		}
	}
	if n := shuffle.Range(nil).N(); n != 1 {
		t.Errorf("no cut makes %d partitions, want 1", n)
	}
}

func sample(from, to int) []byte {
	var s shuffle.Sample
	for i := from; i < to; i++ {
		s.Add(fmt.Appendf(nil, "%08d", i))
	}
	return s.Encode()
}

func cuts(t *testing.T, n int, samples ...[]byte) shuffle.Partitioner {
	t.Helper()
	var c shuffle.Cuts
	for _, s := range samples {
		if err := c.Read(bytes.NewReader(s), "x"); err != nil {
			t.Fatal(err)
		}
	}
	return c.Into(n)
}

func TestCuts(t *testing.T) {
	// One sample stands for 16 times as many pairs as the other.
	small, large := sample(0, 50_000), sample(50_000, 850_000)
	by, again := cuts(t, 10, small, large), cuts(t, 10, large, small)
	count := make([]int, 10)
	for i := range 850_000 {
		p := by.Of(fmt.Appendf(nil, "%08d", i))
		if count[p]++; i%1000 == 0 && again.Of(fmt.Appendf(nil, "%08d", i)) != p {
			t.Fatal("the order of samples matters")
		}
	}
	for p, n := range count {
		if n < 75_000 || n > 95_000 {
			t.Errorf("partition %d has %d pairs, want about 85000", p, n)
		}
	}
	if !bytes.Equal(small, sample(0, 50_000)) {
		t.Error("two samples of the same keys differ")
	}
	for _, samples := range [][][]byte{{}, {sample(0, 0)}, {sample(0, 1)}} {
		if n := cuts(t, 5, samples...).N(); n != 5 {
			t.Errorf("few keys make %d partitions, want 5", n)
		}
	}
	if p := cuts(t, 5, sample(7, 8)).Of([]byte("00000007")); p != 0 && p != 4 {
		t.Errorf("the only key is in partition %d", p)
	}
}

func TestDamagedSamples(t *testing.T) {
	whole := sample(0, 3)
	var c shuffle.Cuts
	for n := range whole {
		damaged := bytes.Clone(whole)
		damaged[n] ^= 4
		for _, bad := range [][]byte{whole[:n], damaged} {
			if c.Read(bytes.NewReader(bad), "x") == nil {
				t.Errorf("a sample that is cut or damaged at byte %d is accepted", n)
			}
		}
	}
}
