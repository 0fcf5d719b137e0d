package embedded_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// BenchmarkAddSmall adds three small blocks, as a job's spec and code do.
func BenchmarkAddSmall(b *testing.B) {
	n := open(b, b.TempDir())
	for i := 0; b.Loop(); i++ {
		if _, err := n.Add(b.Context(), fmt.Sprint("p", i), func(s ipfs.Session) (jobspec.CID, error) {
			return putFile(b.Context(), s, fmt.Sprint("round ", i), 2)
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddLarge adds 256 MiB of fresh leaves of 1 MiB.
func BenchmarkAddLarge(b *testing.B) { benchmarkAdd(b, 256, 1<<20) }

// BenchmarkAddMany adds 10,000 fresh leaves of 1 KiB.
func BenchmarkAddMany(b *testing.B) { benchmarkAdd(b, 10000, 1<<10) }

func benchmarkAdd(b *testing.B, count, size int) {
	n := open(b, b.TempDir())
	b.SetBytes(int64(count * size))
	rng := rand.NewChaCha8([32]byte{})
	for b.Loop() {
		_, err := n.Add(b.Context(), "p", func(s ipfs.Session) (c jobspec.CID, err error) {
			pattern := make([]byte, size)
			_, _ = rng.Read(pattern[:min(size, 4096)])
			for i := range count {
				data := append([]byte(nil), pattern...)
				binary.LittleEndian.PutUint64(data, uint64(i))
				c = sum(cid.Raw, data)
				if err := s.Put(b.Context(), c, data); err != nil {
					return c, err
				}
			}
			return c, nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddAgain adds 64 MiB that are stored already.
func BenchmarkAddAgain(b *testing.B) {
	n := open(b, b.TempDir())
	data := make([]byte, 1<<20)
	b.SetBytes(64 << 20)
	for b.Loop() {
		if _, err := n.Add(b.Context(), "p", func(s ipfs.Session) (c jobspec.CID, err error) {
			for i := range 64 {
				own := append([]byte(nil), data...)
				own[0] = byte(i)
				c = sum(cid.Raw, own)
				if err := s.Put(b.Context(), c, own); err != nil {
					return c, err
				}
			}
			return c, nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}
