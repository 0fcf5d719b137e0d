package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

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
		memory /= 2 // two collectors
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
			return s.do(s.program, call{what: "mapper", command: s.command, item: p, stdin: f, drain: take})
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

// identity reads the input as cat would write it.
func (s *stage) identity(in *input, take func(io.Reader) error) error {
	if !s.records.asIs {
		return in.each(func(_ string, f *os.File) error { return take(f) })
	}
	r, w := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		err := in.copyTo(w, false)
		copied <- err
		_ = w.CloseWithError(err)
	}()
	err := take(r)
	_ = r.CloseWithError(err)
	if e := <-copied; err == nil {
		err = e
	}
	return err
}

// combineChunk is how many bytes of the mapper's lines are combined at once.
// It is part of what a task means: with another size other lines come out.
const combineChunk = 64 << 20

// combine puts what the combiner makes of the mapper's lines into c: chunk by
// chunk, sorted.
func (s *stage) combine(c *shuffle.Collector, memory int64) error {
	combiner := watchSignals()
	defer combiner.close()
	chunk, size := s.newChunk(memory), int64(0)
	defer func() { chunk.Close() }()
	flush := func() error {
		if size == 0 {
			return nil
		}
		size = 0
		err := s.combineOne(combiner, chunk, c)
		s.counters["combine.pairs"] += chunk.Stats().Pairs
		err = errors.Join(err, chunk.Close())
		chunk = s.newChunk(memory)
		return err
	}
	err := s.pairs(func(r io.Reader) error {
		return shuffle.EachLine(r, c.MaxRecord(), func(line []byte) error {
			size += int64(len(line)) + 1
			if err := chunk.Add(line, nil); err != nil || size < combineChunk {
				return err
			}
			return flush()
		})
	})
	if err != nil {
		return err
	}
	return flush()
}

func (s *stage) newChunk(memory int64) *shuffle.Collector {
	return shuffle.NewCollector(shuffle.Config{
		Kind: shuffle.Lines, Partitioner: shuffle.Hash(1), Memory: memory, Dir: filepath.Join(s.spillDir(), "combine"),
	})
}

// combineOne runs the combiner over a chunk.
func (s *stage) combineOne(combiner *children, chunk, to *shuffle.Collector) error {
	path := filepath.Join(s.spillDir(), "chunk")
	if err := os.MkdirAll(s.spillDir(), 0o700); err != nil {
		return fmt.Errorf("make directory for spills: %w", err)
	}
	var run []string
	err := chunk.Finish(func(int) (io.WriteCloser, error) {
		run = []string{path}
		return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	})
	if err != nil {
		return err
	}
	m, err := shuffle.OpenMerger(run, shuffle.MergeConfig{Kind: shuffle.Lines})
	if err != nil {
		return err
	}
	defer m.Close()
	return s.do(combiner, call{
		what: "combiner", command: []string{"sh", "-c", s.combiner},
		feed:  func(w io.Writer) error { return asWriteError(m.WriteLines(w)) },
		drain: to.ReadLines,
	})
}

// stopwatch adds how long something took to a counter.
func (s *stage) stopwatch(counter string) func() {
	start := time.Now()
	return func() { s.counters[counter] += time.Since(start).Milliseconds() }
}
