package shuffle_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/ipdc/ipdc/internal/shuffle"
)

// words makes lines as a mapper of a word count does: few of many are distinct.
func words(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(r, 1.1, 3, 49_999)
	var text []byte
	for range n {
		w := z.Uint64()
		text = fmt.Appendf(text, "%s%d\t1\n", "etaoinshr"[:w%9], w)
	}
	return text
}

// random makes lines of 100 bytes, all distinct.
func random(n int) []byte {
	r := rand.New(rand.NewPCG(1, 3))
	text := make([]byte, 100*n)
	for i := range text {
		text[i] = byte(' ' + r.Uint32()%95)
		if i%100 == 99 {
			text[i] = '\n'
		}
	}
	return text
}

func BenchmarkCollect(b *testing.B) {
	for name, text := range map[string][]byte{"words": words(2_000_000), "random": random(500_000)} {
		for _, memory := range []int64{256 << 20, 16 << 20} {
			b.Run(fmt.Sprintf("%s/%dMiB", name, memory>>20), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					c := shuffle.NewCollector(shuffle.Config{Kind: shuffle.Lines, Partitioner: shuffle.Hash(4), Memory: memory, Dir: b.TempDir()})
					if err := c.ReadLines(bytes.NewReader(text)); err != nil {
						b.Fatal(err)
					}
					if err := c.Finish(func(int) (io.WriteCloser, error) { return os.OpenFile(os.DevNull, os.O_WRONLY, 0) }); err != nil {
						b.Fatal(err)
					}
					if err := c.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkMerge(b *testing.B) {
	for name, text := range map[string][]byte{"words": words(2_000_000), "random": random(500_000)} {
		dir := b.TempDir()
		var paths []string
		for i := range 8 {
			c := shuffle.NewCollector(shuffle.Config{Kind: shuffle.Lines, Partitioner: shuffle.Hash(1), Memory: 256 << 20})
			if err := c.ReadLines(bytes.NewReader(text[i*len(text)/8 : (i+1)*len(text)/8])); err != nil {
				b.Fatal(err)
			}
			paths = append(paths, partPath(dir, i))
			if err := c.Finish(func(int) (io.WriteCloser, error) { return os.Create(paths[i]) }); err != nil {
				b.Fatal(err)
			}
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				m, err := shuffle.OpenMerger(paths, shuffle.MergeConfig{Kind: shuffle.Lines, Memory: 64 << 20})
				if err != nil {
					b.Fatal(err)
				}
				if err := m.WriteLines(io.Discard); err != nil {
					b.Fatal(err)
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
