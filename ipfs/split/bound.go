package split

import (
	"fmt"

	"github.com/ipdc/ipdc/jobspec"
)

// Bounds of what a DAG of a few blocks can ask for: it declares any size, and
// one leaf may stand in it any number of times.
const (
	maxLine     = 1 << 30 // bytes that are searched for one line end
	pieceLeaves = 1 << 20 // blocks of one piece of a file: a TiB of this project's leaves
	allLeaves   = 1 << 24 // leaves of all pieces; each costs 50 bytes on disk
)

const cutLess = "use split.by: size, which cuts no file, or split a part of the input (CID/path)"

// bound refuses more shards than a plan may have.
func (o Options) bound(shards int64) error {
	if shards <= jobspec.MaxInto {
		return nil
	}
	f := jobspec.Failure{
		Kind:   jobspec.KindLimit,
		Detail: fmt.Sprintf("the input would have %d shards of %s, at most %d are allowed", shards, jobspec.Bytes(o.Size), jobspec.MaxInto),
		Hint:   "raise split.size (--split-size), or ask for a number of shards with split.into (--into)",
	}
	return f.Error()
}

// boundPieces refuses large files before they are cut: a piece for each size
// that they declare is the most that there can be.
func (o Options) boundPieces(files []file) error {
	var pieces int64
	for _, f := range files {
		if f.size >= o.Size {
			pieces += (f.size-1)/o.Size + 1 // no overflow: at most the budget's bytes in all
		}
	}
	return o.bound(pieces)
}

// noLine refuses a file that is no text, or nothing but a size.
func noLine(f file, from int64) error {
	return jobspec.Failure{
		Kind: jobspec.KindLimit, Hint: cutLess,
		Detail: fmt.Sprintf("%.256q has no line end in the %s behind byte %d", f.path, jobspec.Bytes(maxLine), from),
	}.Error()
}

// cutHint says what to do about a file with more blocks than are read for one
// piece.
func cutHint(err error) error {
	f := jobspec.AsFailure(err)
	if f.Kind != jobspec.KindLimit || f.Hint != "" {
		return err
	}
	f.Hint = "ask for smaller shards; or " + cutLess
	return f.Error()
}
