package attach

import (
	"context"
	"fmt"
	"io"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// maxPending bounds the links that a survey has yet to follow: 60 MB.
const maxPending = 1 << 20

// survey follows the links of a CAR from its roots, to find out whether it has
// all that these reach, and nothing else. Two bits a block say what was seen.
func survey(ctx context.Context, x *index, r io.ReaderAt, rec record) (shape, error) {
	v := &surveyor{x: x, r: r, base: rec.Base, seen: newBits(x.blocks), read: newBits(x.blocks)}
	v.pending = append(v.pending, rec.Roots...)
	for len(v.pending) > 0 {
		if err := ctx.Err(); err != nil {
			return shape{}, context.Cause(ctx)
		}
		c := v.pending[len(v.pending)-1]
		v.pending = v.pending[:len(v.pending)-1]
		if err := v.visit(c); err != nil {
			return shape{Unknown: jobspec.AsFailure(err).Detail}, nil
		}
	}
	v.shape.Foreign = x.blocks - v.reached
	return v.shape, nil
}

type surveyor struct {
	x          *index
	r          io.ReaderAt
	base       int64
	seen, read bits
	reached    int64
	pending    []jobspec.CID
	shape      shape
}

func (v *surveyor) visit(c jobspec.CID) error {
	if err := dag.CheckCID(c); err != nil {
		return err
	}
	if data, ok := dag.Identity(c); ok {
		return v.follow(c, data)
	}
	off, n, ok, err := v.x.find(c.Cid().Hash())
	if err != nil {
		return err
	}
	if !ok {
		if v.shape.Missing++; v.shape.Missing == 1 {
			v.shape.First = c
		}
		return nil
	}
	if v.seen.set(n) {
		v.reached++
	}
	if link.None(c) || !v.read.set(n) {
		return nil
	}
	data, err := car.At(v.r, v.base+off, c)
	if err != nil {
		return err
	}
	return v.follow(c, data)
}

func (v *surveyor) follow(c jobspec.CID, data []byte) error {
	links, err := link.Of(c, data)
	if err != nil {
		return err
	}
	if len(v.pending)+len(links) > maxPending {
		return fmt.Errorf("over %d links wait to be followed", maxPending)
	}
	for i := len(links) - 1; i >= 0; i-- {
		v.pending = append(v.pending, links[i])
	}
	return nil
}

// whole says whether all that the roots reach is in the file.
func (s shape) whole() bool { return s.Unknown == "" && s.Missing == 0 }

// why is what speaks against mounting the file itself; "" = nothing.
func (s shape) why() string {
	switch {
	case s.Unknown != "":
		return "its links were not followed to the end: " + s.Unknown
	case s.Missing > 0:
		return fmt.Sprintf("%d links lead to blocks that are not in it, the first to %s", s.Missing, s.First)
	case s.Foreign > 0:
		return fmt.Sprintf("%d of its blocks are reached by no root", s.Foreign)
	}
	return ""
}

// inPlace says whether the file itself is a CAR of its one root and of nothing
// else.
func (r record) inPlace() bool {
	return len(r.Roots) == 1 && r.Shape.why() == ""
}

// bits is a set of numbers.
type bits []uint64

func newBits(n int64) bits { return make(bits, (n+63)/64) }

// set adds n and reports whether it was not there.
func (b bits) set(n int64) bool {
	old := b[n/64]
	b[n/64] |= 1 << (n % 64)
	return old != b[n/64]
}
