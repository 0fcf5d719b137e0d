package split

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
)

const (
	// perFile is what a file weighs beside its bytes, so that shards of tiny
	// files are not too many files.
	perFile = 4 << 10
	// maxFiles is the most files of one shard.
	maxFiles = 10_000
)

// bySize groups small files and lets large ones be alone, cut or not.
func (c *cutter) bySize(ctx context.Context, files []file) ([][]piece, error) {
	if c.o.cuts() {
		if err := c.o.boundPieces(files); err != nil {
			return nil, err
		}
	}
	var g grouping
	for _, f := range files {
		if f.size < c.o.Size {
			g.add(f, c.o.Size)
			continue
		}
		g.cut()
		pieces := []piece{whole(f)}
		if c.o.cuts() {
			var err error
			if pieces, _, err = c.pieces(ctx, f, multiples(c.o.Size, f.size)); err != nil {
				return nil, err
			}
		}
		for _, p := range pieces {
			g.groups = append(g.groups, []piece{p})
		}
	}
	g.cut()
	return g.groups, nil
}

// grouping cuts a sequence of files where the content says so, as
// content-defined chunking cuts a sequence of bytes: a file more or less moves
// the borders up to the next natural one only.
// Source: A. Muthitacharoen, B. Chen, D. Mazières, A Low-bandwidth Network
// File System (2001), section 3.1.
type grouping struct {
	groups [][]piece
	open   []piece
	weight int64
}

// add takes a file that is smaller than size. Behind a quarter of size each
// file ends the group with a probability in proportion to its weight, which
// makes groups of about size; at twice of it they end in any case.
func (g *grouping) add(f file, size int64) {
	w := f.size + perFile
	if g.weight > 2*size-w || len(g.open) == maxFiles {
		g.cut()
	}
	g.open = append(g.open, whole(f))
	g.weight += w
	if g.weight >= size/4 && chance(f) < float64(w)/(0.75*float64(size)) {
		g.cut()
	}
}

func (g *grouping) cut() {
	if len(g.open) > 0 {
		g.groups = append(g.groups, g.open)
	}
	g.open, g.weight = nil, 0
}

// chance is a number in [0, 1) that path and content alone determine.
func chance(f file) float64 {
	h := sha256.New()
	h.Write([]byte(f.path))
	h.Write([]byte{0})
	h.Write(f.cid.Cid().Bytes())
	return float64(binary.BigEndian.Uint64(h.Sum(nil))>>11) / (1 << 53)
}

// byEntry makes a group of the files below each entry of the root.
func byEntry(files []file) (groups [][]piece) {
	last := ""
	for _, f := range files { // sorted, so that those of an entry stand together
		entry, _, _ := strings.Cut(f.path, "/")
		if entry != last {
			groups, last = append(groups, nil), entry
		}
		i := len(groups) - 1
		groups[i] = append(groups[i], whole(f))
	}
	return groups
}

// filesInto deals whole files into at most n groups, in order: a file belongs
// to the n-th of the bytes in which it begins. Empty files weigh nothing, so
// without bytes the files are counted.
func filesInto(files []file, n int) [][]piece {
	weigh := func(f file) int64 { return f.size }
	total := sum(files, weigh)
	if total == 0 {
		weigh = func(file) int64 { return 1 }
		total = int64(len(files))
	}
	var groups [][]piece
	var offset int64
	last := int64(-1)
	for _, f := range files {
		share := scale(min(offset, total-1), int64(n), total)
		if share != last {
			groups = append(groups, nil)
			last = share
		}
		i := len(groups) - 1
		groups[i] = append(groups[i], whole(f))
		offset += weigh(f)
	}
	return groups
}

func sum(files []file, weigh func(file) int64) (total int64) {
	for _, f := range files {
		total += min(weigh(f), math.MaxInt64-total)
	}
	return total
}

// scale returns a*b/c without overflow, for a < c or b < c: then it is below
// the other of the two.
func scale(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(q)
}
