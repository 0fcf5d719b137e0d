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
	b := bufio.NewWriterSize(w, 64<<10)
	if err := write(ctx, b, g, root); err != nil {
		return fmt.Errorf("write CAR of %s: %w", root, err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write CAR of %s: %w", root, err)
	}
	return nil
}

func write(ctx context.Context, w *bufio.Writer, g ipfs.Getter, root jobspec.CID) error {
	head, err := appendHeader(nil, root)
	if err != nil {
		return err
	}
	for stack := []jobspec.CID{root}; len(stack) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		data, err := g.Get(ctx, c)
		if err != nil {
			return err
		}
		// The header goes with the first block, so that a root that cannot be
		// had leaves w untouched and the caller can still answer otherwise.
		if _, ok := dag.Identity(c); !ok {
			head = appendSection(head, c, len(data))
		}
		if _, err := w.Write(head); err != nil {
			return err
		}
		if _, ok := dag.Identity(c); !ok {
			if _, err := w.Write(data); err != nil {
				return err
			}
		}
		head = head[:0]
		links, err := link.Of(c, data)
		if err != nil {
			return err
		}
		slices.Reverse(links)
		stack = append(stack, links...)
	}
	return nil
}
