package car

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/internal/link"
	"github.com/ipdc/ipdc/jobspec"
)

// Write writes the DAG below root as a CARv1: each block before what it links
// to, in the order of links, as often as it is linked to (order=dfs, dups=y of
// https://specs.ipfs.tech/http-gateways/trustless-gateway/). Identity CIDs have
// no section. A DAG that links to one block many times makes a stream as long
// as its content; it ends when ctx or w does.
func Write(ctx context.Context, w io.Writer, g ipfs.Getter, root jobspec.CID) error {
	return (&exporter{}).to(ctx, w, g, root)
}

// WriteOnce is Write with each block once, where it is linked to first
// (order=dfs, dups=n): one DAG makes one stream of bytes, and its length is
// that of its distinct blocks. It keeps the CID of each, about 100 bytes. A
// [Source] that reads such a stream is a Getter for another WriteOnce.
func WriteOnce(ctx context.Context, w io.Writer, g ipfs.Getter, root jobspec.CID) (Stats, error) {
	e := exporter{seen: map[jobspec.CID]struct{}{}}
	err := e.to(ctx, w, g, root)
	return e.stats, err
}

// exporter writes one DAG.
type exporter struct {
	w     *bufio.Writer
	seen  map[jobspec.CID]struct{}      // nil = blocks are repeated
	index func(c jobspec.CID, at int64) // told where each section begins; nil = nobody
	stats Stats                         // what was written
}

func (e *exporter) to(ctx context.Context, w io.Writer, g ipfs.Getter, root jobspec.CID) error {
	e.w = bufio.NewWriterSize(w, 64<<10)
	g, done := ipfs.Stream(ctx, g, root)
	defer done()
	err := e.walk(ctx, g, root)
	if err == nil {
		err = e.w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write CAR of %s: %w", root, err)
	}
	return nil
}

func (e *exporter) walk(ctx context.Context, g ipfs.Getter, root jobspec.CID) error {
	for stack := []jobspec.CID{root}; len(stack) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if e.repeated(c) {
			continue
		}
		data, err := g.Get(ctx, c)
		if err != nil {
			return err
		}
		// The header goes with the first block, so that a root that cannot be
		// had leaves w untouched and the caller can still answer otherwise.
		if err := e.section(root, c, data); err != nil {
			return err
		}
		links, err := link.Of(c, data)
		if err != nil {
			return err
		}
		slices.Reverse(links)
		stack = append(stack, links...)
	}
	return nil
}

func (e *exporter) repeated(c jobspec.CID) bool {
	if e.seen == nil {
		return false
	}
	_, ok := e.seen[c]
	e.seen[c] = struct{}{}
	return ok
}

func (e *exporter) section(root, c jobspec.CID, data []byte) (err error) {
	var head []byte
	if e.stats.Bytes == 0 {
		if head, err = appendHeader(nil, root); err != nil {
			return err
		}
	}
	if _, ok := dag.Identity(c); ok {
		data = nil
	} else {
		if e.index != nil {
			e.index(c, e.stats.Bytes+int64(len(head)))
		}
		head = appendSection(head, c, len(data))
		e.stats.Blocks++
	}
	e.stats.Bytes += int64(len(head) + len(data))
	if _, err := e.w.Write(head); err != nil {
		return err
	}
	_, err = e.w.Write(data)
	return err
}
