package split

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// multiples yields where a file of that size is cut at the latest: size,
// 2*size and so on.
func multiples(size, of int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for at := size; at < of && yield(at); at += size {
		}
	}
}

// pieces cuts a file at the first border at or behind each offset: behind a
// line end, or between two records. Those longer than the distance of two
// offsets make fewer pieces; spilled says that the last border came to the
// file's end. For lines at most the whole file is read, once; as a rule two
// leaves for each offset.
func (c *cutter) pieces(ctx context.Context, f file, offsets iter.Seq[int64]) (list []piece, spilled bool, err error) {
	from := int64(0)
	for at := range offsets {
		if at <= from {
			continue
		}
		to, err := c.border(ctx, f, at)
		if err != nil {
			return nil, false, err
		}
		if to >= f.size {
			spilled = true
			break
		}
		list = append(list, piece{f, from, to})
		from = to
	}
	return append(list, piece{f, from, f.size}), spilled, nil
}

// border returns where a file may be cut, at or behind an offset over 0.
func (c *cutter) border(ctx context.Context, f file, at int64) (int64, error) {
	if c.o.By == jobspec.SplitLines {
		return c.lineEnd(ctx, f, at-1)
	}
	records := (at-1)/c.o.Record + 1
	if records > f.size/c.o.Record {
		return f.size, nil
	}
	return records * c.o.Record, nil
}

// lineEnd returns the offset behind the first newline at or behind from, the
// file's size when there is none. The file declares how much there is to
// search, so that there is a bound on it.
func (c *cutter) lineEnd(ctx context.Context, f file, from int64) (int64, error) {
	end, to := int64(-1), f.size
	if f.size-from > maxLine {
		to = from + maxLine
	}
	_, err := tree.Leaves(ctx, c.s, f.cid, c.o.Budget, from, to, func(l tree.Leaf) error {
		data, err := l.Data(ctx)
		if err != nil {
			return err
		}
		skip := max(from-l.Offset, 0)
		if i := bytes.IndexByte(data[skip:], '\n'); i >= 0 {
			end = l.Offset + skip + int64(i) + 1
			return tree.SkipAll
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, cutHint(err)
	case end >= 0:
		return end, nil
	case to < f.size:
		return 0, noLine(f, from)
	}
	return f.size, nil
}

// piecesInto deals all bytes into at most n groups, in order, with borders at
// line ends, or between records.
func (c *cutter) piecesInto(ctx context.Context, files []file) ([][]piece, error) {
	total := sum(files, func(f file) int64 { return f.size })
	if total == 0 {
		return filesInto(files, c.o.Into), nil
	}
	n := int64(c.o.Into)
	var groups [][]piece
	var begin int64 // of the file among all bytes
	next := int64(1)
	border := true // one lies between the last piece and the next
	for _, f := range files {
		var inside []int64
		for ; next < n && scale(total, next, n) < begin+f.size; next++ {
			at := scale(total, next, n) - begin
			border = border || at <= 0
			if at > 0 {
				inside = append(inside, at)
			}
		}
		pieces, spilled, err := c.pieces(ctx, f, slices.Values(inside))
		if err != nil {
			return nil, err
		}
		for _, p := range pieces {
			if border {
				groups = append(groups, nil)
			}
			i := len(groups) - 1
			groups[i] = append(groups[i], p)
			border = true
		}
		border = spilled
		begin += f.size
	}
	return groups, nil
}
