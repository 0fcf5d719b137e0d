package shuffle_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/shuffle"
)

// collect makes runs of what feed gives and returns them by name.
func collect(t *testing.T, cfg shuffle.Config, feed func(*shuffle.Collector) error) (string, shuffle.Stats) {
	t.Helper()
	dir := t.TempDir()
	cfg.Dir = filepath.Join(dir, "spill")
	c := shuffle.NewCollector(cfg)
	if err := feed(c); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(func(part int) (io.WriteCloser, error) { return os.Create(partPath(dir, part)) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(cfg.Dir); len(left) > 0 {
		t.Errorf("%d spills are left", len(left))
	}
	return dir, c.Stats()
}

func partPath(dir string, part int) string { return filepath.Join(dir, fmt.Sprintf("part-%05d", part)) }

// merge returns what a merger writes of the runs.
func merge(t *testing.T, paths []string, cfg shuffle.MergeConfig) ([]byte, shuffle.MergeStats) {
	t.Helper()
	cfg.Dir = t.TempDir()
	m, err := shuffle.OpenMerger(paths, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	write := m.WriteLines
	if cfg.Kind == shuffle.Frames {
		write = m.WriteFrames
	}
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(cfg.Dir); len(left) > 0 {
		t.Errorf("%d merges are left", len(left))
	}
	return out.Bytes(), m.Stats()
}

// sorted is what the real sort makes of text.
func sorted(t *testing.T, text []byte) []byte {
	t.Helper()
	cmd := exec.Command("sort")
	cmd.Env, cmd.Stdin = append(os.Environ(), "LC_ALL=C"), bytes.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// randomLines makes text in one of several shapes that are hard on a sort.
func randomLines(r *rand.Rand, size int) []byte {
	alphabet := [][]byte{[]byte("ab"), []byte("\x00\x01\t"), []byte("abcdefgh \t"), nil}[r.IntN(4)]
	prefix := strings.Repeat("p", []int{0, 7, 8, 9, 40}[r.IntN(5)])
	longest := []int{1, 9, 30, 300}[r.IntN(4)]
	var text []byte
	for len(text) < size {
		text = append(text, prefix[:r.IntN(len(prefix)+1)]...)
		for range r.IntN(longest + 1) {
			b := byte(r.Uint32())
			if alphabet != nil {
				b = alphabet[r.IntN(len(alphabet))]
			}
			if b == '\n' {
				b = 0xff
			}
			text = append(text, b)
		}
		text = append(text, '\n')
	}
	return text
}

// slow gives what it reads in pieces of any size.
type slow struct {
	r   io.Reader
	rnd *rand.Rand
}

func (s slow) Read(b []byte) (int, error) { return s.r.Read(b[:1+s.rnd.IntN(min(len(b), 70_000))]) }

func TestLinesEqualSort(t *testing.T) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 6))
			text := randomLines(r, 1<<r.IntN(21))
			want := sorted(t, text)
			if r.IntN(2) == 0 {
				text = bytes.TrimSuffix(text, []byte("\n"))
			}
			parts := []int{1, 2, 7, 1000}[r.IntN(4)]
			var outs [2]map[string][]byte
			var all []byte
			for i := range outs {
				cfg := shuffle.Config{Kind: shuffle.Lines, Partitioner: shuffle.Hash(parts), Memory: 1 << (20 + 8*i), Threads: 1 + i}
				dir, st := collect(t, cfg, func(c *shuffle.Collector) error { return c.ReadLines(slow{bytes.NewReader(text), r}) })
				if i == 1 && st.Spills > 0 || i == 0 && st.Records > 50_000 && st.Spills == 0 {
					t.Errorf("with %d bytes of memory %d spills of %d bytes", cfg.Memory, st.Spills, len(text))
				}
				outs[i], all = files(t, dir), nil
				for p := range parts {
					if _, ok := outs[i][filepath.Base(partPath(dir, p))]; ok {
						out, _ := merge(t, []string{partPath(dir, p)}, shuffle.MergeConfig{Kind: shuffle.Lines, Partition: p})
						if !bytes.Equal(out, sorted(t, out)) {
							t.Errorf("partition %d is not sorted", p)
						}
						all = append(all, out...)
					}
				}
			}
			if !bytes.Equal(sorted(t, all), want) {
				t.Error("the partitions together are not what came")
			}
			if !maps.EqualFunc(outs[0], outs[1], bytes.Equal) {
				t.Error("runs differ with memory and threads")
			}
			if parts == 1 && !bytes.Equal(all, want) {
				t.Error("the run is not what sort makes")
			}
		})
	}
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	m := map[string][]byte{}
	list, err := filepath.Glob(dir + "/part-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if m[filepath.Base(p)], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

type pair struct{ Key, Value string }

// frames encodes pairs as a harness does, in blocks of random sizes.
func frames(r *rand.Rand, pairs []pair) []byte {
	var out []byte
	le := binary.LittleEndian
	for len(pairs) > 0 {
		n := 1 + r.IntN(min(len(pairs), 3000))
		var keys, values, klens, vlens []byte
		for _, p := range pairs[:n] {
			keys, values = append(keys, p.Key...), append(values, p.Value...)
			klens, vlens = le.AppendUint32(klens, uint32(len(p.Key))), le.AppendUint32(vlens, uint32(len(p.Value)))
		}
		for _, v := range []int{n, len(keys), len(values)} {
			out = le.AppendUint32(out, uint32(v))
		}
		out = slices.Concat(out, klens, vlens, keys, values)
		pairs = pairs[n:]
	}
	return out
}

// ungroup decodes what a reducer's harness reads, strictly.
func ungroup(t *testing.T, b []byte) (pairs []pair, groups int) {
	t.Helper()
	last, any := "", false
	take := func(n uint32) []byte {
		if uint64(n) > uint64(len(b)) {
			t.Fatalf("block is cut: %d of %d bytes", len(b), n)
		}
		out := b[:n]
		b = b[n:]
		return out
	}
	u32 := func() uint32 { return binary.LittleEndian.Uint32(take(4)) }
	for len(b) > 0 {
		g, v, _, _, continued := u32(), u32(), u32(), u32(), u32()
		klens, counts, vlens := make([]uint32, g), make([]uint32, g), make([]uint32, v)
		for _, list := range [][]uint32{klens, counts, vlens} {
			for i := range list {
				list[i] = u32()
			}
		}
		var keys []string
		for _, n := range klens {
			keys = append(keys, string(take(n)))
		}
		for i, k := range keys {
			if i == 0 && continued == 1 {
				if k != "" {
					t.Errorf("a continued group repeats its key, %.100q", k)
				}
				k = last
			}
			if again := any && k == last; again != (i == 0 && continued == 1) {
				t.Errorf("group %q: same as the one before %v, block continued %v", k, again, continued)
			} else if !again {
				groups++
			}
			last, any = k, true
			for range counts[i] {
				pairs = append(pairs, pair{k, string(take(vlens[0]))})
				vlens = vlens[1:]
			}
		}
	}
	return pairs, groups
}

func TestFramesAreStable(t *testing.T) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			var pairs []pair
			keys := []int{1, 30, 3000, 1 << 30}[r.IntN(4)]
			values := []int{1, 2, 1 << 30}[r.IntN(3)]
			pad := strings.Repeat("x", r.IntN(40))
			for range r.IntN(25_000) {
				pairs = append(pairs, pair{fmt.Sprintf("%s%d", pad, r.IntN(keys)), strings.Repeat("v", r.IntN(3)) + fmt.Sprint(r.IntN(values))})
			}
			if len(pairs) > 0 {
				pairs[0], pairs[len(pairs)/2] = pair{}, pair{Value: "\x00"}
			}
			text := frames(r, pairs)
			want := slices.Clone(pairs)
			slices.SortStableFunc(want, func(a, b pair) int { return strings.Compare(a.Key, b.Key) })
			var first map[string][]byte
			for _, memory := range []int64{1 << 20, 1 << 28} {
				dir, _ := collect(t, shuffle.Config{Kind: shuffle.Frames, Partitioner: shuffle.Hash(1), Memory: memory},
					func(c *shuffle.Collector) error { return c.ReadFrames(slow{bytes.NewReader(text), r}) })
				if first == nil {
					first = files(t, dir)
				} else if !maps.EqualFunc(first, files(t, dir), bytes.Equal) {
					t.Error("runs differ with memory")
				}
				var runs []string
				if len(pairs) > 0 {
					runs = []string{partPath(dir, 0)}
				}
				out, st := merge(t, runs, shuffle.MergeConfig{Kind: shuffle.Frames})
				got, groups := ungroup(t, out)
				if !slices.Equal(want, got) {
					t.Errorf("pairs (-want +got):\n%.2000s", cmp.Diff(want, got))
				}
				if st.Pairs != int64(len(pairs)) || st.Groups != int64(groups) {
					t.Errorf("counted %d pairs in %d groups, want %d in %d", st.Pairs, st.Groups, len(pairs), groups)
				}
			}
		})
	}
}
