package car

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// WriteBlocks writes the blocks of list, in that order and no others, as a
// CARv1 with root. It is for a reader that has the rest of the DAG.
func WriteBlocks(ctx context.Context, w io.Writer, g ipfs.Getter, root jobspec.CID, list []jobspec.CID) error {
	b := bufio.NewWriterSize(w, 64<<10)
	head, err := appendHeader(nil, root)
	for i := 0; err == nil && i < len(list); i++ {
		var data []byte
		if data, err = g.Get(ctx, list[i]); err != nil {
			break
		}
		if _, err = b.Write(appendSection(head, list[i], len(data))); err == nil {
			_, err = b.Write(data)
		}
		head = head[:0]
	}
	if err == nil {
		_, err = b.Write(head) // of a list without blocks
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("write CAR of %s: %w", root, err)
	}
	return nil
}
