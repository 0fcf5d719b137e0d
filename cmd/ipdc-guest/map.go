package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ipdc/ipdc/internal/shuffle"
	"github.com/ipdc/ipdc/wire/guest"
)

// runMap leaves a sorted run for each partition that has pairs.
func (s *stage) runMap() error {
	by, err := s.partitioner()
	if err != nil {
		return err
	}
	memory := s.budget()
	if s.combiner != "" {
		memory /= 3 // a chunk that is filled, one that is combined, and what comes out
	}
	c := shuffle.NewCollector(shuffle.Config{Kind: s.kind, Partitioner: by, Memory: memory, Dir: s.spillDir()})
	defer c.Close()
	if s.combiner == "" {
		err = s.pairs(func(r io.Reader) error { return readInto(c, s.kind, r) })
	} else {
		err = s.combine(c, memory)
	}
	if err == nil {
		err = c.Finish(s.createPart)
	}
	s.count("map", c.Stats())
	return err
}

func readInto(c *shuffle.Collector, kind shuffle.Kind, r io.Reader) error {
	if kind == shuffle.Frames {
		return c.ReadFrames(r)
	}
	return c.ReadLines(r)
}

func (s *stage) createPart(part int) (io.WriteCloser, error) {
	f, err := os.OpenFile(filepath.Join(s.at(guest.Outputs), partName(part)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", partName(part), err)
	}
	return f, nil
}

func partName(part int) string { return fmt.Sprintf("part-%05d", part) }

func (s *stage) count(prefix string, st shuffle.Stats) {
	for name, n := range map[string]int64{
		"pairs": st.Pairs, "bytes": st.Bytes, "records": st.Records, "bytes_out": st.OutBytes, "largest_part": st.LargestPartitionOut,
		"spills": st.Spills, "bytes_spilled": st.SpillBytes, "ms_sort": st.Sorting.Milliseconds(), "ms_merge": st.Merging.Milliseconds(),
	} {
		s.counters[prefix+"."+name] = n
	}
}

// partitioner returns how keys are spread.
func (s *stage) partitioner() (shuffle.Partitioner, error) {
	if !s.byRange {
		return shuffle.Hash(s.partitions), nil
	}
	in, err := listInput(s.at(s.samples))
	if err != nil {
		return shuffle.Partitioner{}, fmt.Errorf("samples: %w", err)
	}
	var cuts shuffle.Cuts
	if err := in.each(func(p string, f *os.File) error { return cuts.Read(f, p) }); err != nil {
		return shuffle.Partitioner{}, err
	}
	return cuts.Into(s.partitions), nil
}

// pairs gives take what the user's command writes, or without one the input.
// With a file for each record take is called once for each.
func (s *stage) pairs(take func(io.Reader) error) error {
	in, err := listInput(s.at(s.data))
	if err != nil {
		return err
	}
	switch {
	case len(s.command) == 0:
		return s.identity(in, take)
	case s.kind == shuffle.Frames:
		return s.do(s.program, call{what: "mapper", command: s.command, drain: take})
	case s.records.perFile:
		return in.each(func(p string, f *os.File) error {
			return s.do(s.program, call{what: "mapper", command: s.command, item: s.item(p), stdin: f, drain: take})
		})
	}
	c := call{what: "mapper", command: s.command, drain: take}
	if f, ok := in.whole(!s.records.asIs); ok {
		defer f.Close()
		c.stdin = f
	} else {
		c.feed = func(w io.Writer) error { return in.copyTo(w, !s.records.asIs) }
	}
	return s.do(s.program, c)
}

// item is what the path of an input file was in the whole input.
func (s *stage) item(path string) string {
	if s.name == "sample" {
		_, path, _ = strings.Cut(path, "/") // behind the number of its piece
	}
	return path
}

// identity reads the input as cat would write it.
func (s *stage) identity(in *input, take func(io.Reader) error) error {
	if !s.records.asIs {
		return in.each(func(_ string, f *os.File) error { return take(f) })
	}
	r, w := io.Pipe()
	var copying sync.WaitGroup
	copying.Go(func() { _ = w.CloseWithError(in.copyTo(w, false)) }) // the reader gets the error
	err := take(r)
	_ = r.CloseWithError(err)
	copying.Wait()
	return err
}
