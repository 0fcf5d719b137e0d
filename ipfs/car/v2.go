package car

import (
	"bufio"
	"context"
	"fmt"
	"io"

	carv2 "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multicodec"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// WriteV2 writes what [WriteOnce] writes as a CARv2 with an index of all its
// blocks (MultihashIndexSorted). As the header in front tells the size of the
// rest, w is sought; what w held before is overwritten. The index is held in
// memory, about 200 bytes for each block.
// Source: https://ipld.io/specs/transport/car/carv2/
func WriteV2(ctx context.Context, w io.WriteSeeker, g ipfs.Getter, root jobspec.CID) (Stats, error) {
	const front = carv2.PragmaSize + carv2.HeaderSize
	if _, err := w.Seek(front, io.SeekStart); err != nil {
		return Stats{}, fmt.Errorf("write CARv2: %w", err)
	}
	var records []index.Record
	e := exporter{seen: map[jobspec.CID]struct{}{}, index: func(c jobspec.CID, at int64) {
		records = append(records, index.Record{Cid: c.Cid(), Offset: uint64(at)})
	}}
	if err := e.to(ctx, w, g, root); err != nil {
		return e.stats, err
	}
	n, err := finishV2(w, e.stats.Bytes, records)
	e.stats.Bytes += front + n
	if err != nil {
		return e.stats, fmt.Errorf("write CARv2 of %s: %w", root, err)
	}
	return e.stats, nil
}

// finishV2 writes the index behind the data and the header in front of it, and
// returns the size of the index.
func finishV2(w io.WriteSeeker, size int64, records []index.Record) (int64, error) {
	idx, err := index.New(multicodec.CarMultihashIndexSorted)
	if err != nil {
		return 0, err
	}
	if err := idx.Load(records); err != nil {
		return 0, err
	}
	b := bufio.NewWriter(w)
	n, err := index.WriteTo(idx, b)
	if err != nil {
		return 0, err
	}
	if err := b.Flush(); err != nil {
		return 0, err
	}
	if _, err := w.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if _, err := w.Write(carv2.Pragma); err != nil {
		return 0, err
	}
	h := carv2.NewHeader(uint64(size))
	h.Characteristics.SetFullyIndexed(true)
	_, err = h.WriteTo(w)
	return int64(n), err
}
