package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/ipdc/ipdc/internal/shuffle"
)

// combineChunk is how many bytes of the mapper's lines are combined at once.
// It is part of what a task means: with another size other lines come out.
const combineChunk = 64 << 20

// combining sorts the mapper's lines chunk by chunk, and puts what the combiner
// makes of them into a collector, beside the mapper.
type combining struct {
	*stage
	program *children
	memory  int64 // for a chunk
	to      *shuffle.Collector

	chunk  *shuffle.Collector // is filled
	size   int64              // bytes in it
	chunks int
	busy   sync.WaitGroup
	failed error // of the chunk before; busy guards it
}

// combine puts what the combiner makes of the mapper's lines into to.
func (s *stage) combine(to *shuffle.Collector, memory int64) error {
	c := &combining{stage: s, program: watchSignals(), memory: memory, to: to}
	defer c.program.close()
	c.begin()
	err := s.pairs(func(r io.Reader) error { return shuffle.EachLine(r, c.chunk.MaxRecord(), c.add) })
	if err == nil {
		err = c.flush()
	}
	return errors.Join(err, c.wait(), c.chunk.Close())
}

func (c *combining) begin() {
	dir := filepath.Join(c.spillDir(), fmt.Sprintf("chunk-%d", c.chunks))
	c.chunk = shuffle.NewCollector(shuffle.Config{Kind: shuffle.Lines, Partitioner: shuffle.Hash(1), Memory: c.memory, Dir: dir})
	c.size = 0
	c.chunks++
}

func (c *combining) add(line []byte) error {
	if err := c.chunk.Add(line, nil); err != nil {
		return err
	}
	if c.size += int64(len(line)) + 1; c.size < combineChunk {
		return nil
	}
	return c.flush()
}

// flush has the chunk combined, after the one before.
func (c *combining) flush() error {
	if err := c.wait(); err != nil || c.size == 0 {
		return err
	}
	chunk := c.chunk
	c.begin()
	c.busy.Go(func() { c.failed = errors.Join(c.one(chunk), chunk.Close()) })
	return nil
}

// wait waits for the chunk that is combined.
func (c *combining) wait() error {
	c.busy.Wait()
	err := c.failed
	c.failed = nil
	return err
}

// one runs the combiner over a chunk. Its sorted lines go by way of a file: each
// of them once, with its count.
func (c *combining) one(chunk *shuffle.Collector) error {
	path := filepath.Join(c.spillDir(), "chunk")
	if err := os.MkdirAll(c.spillDir(), 0o700); err != nil {
		return fmt.Errorf("make directory for spills: %w", err)
	}
	err := chunk.Finish(func(int) (io.WriteCloser, error) {
		return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	})
	if err != nil {
		return err
	}
	m, err := shuffle.OpenMerger([]string{path}, shuffle.MergeConfig{Kind: shuffle.Lines})
	if err != nil {
		return err
	}
	defer m.Close()
	return c.do(c.program, call{
		what: "combiner", command: []string{"sh", "-c", c.combiner},
		feed:  func(w io.Writer) error { return asWriteError(m.WriteLines(w)) },
		drain: c.to.ReadLines,
	})
}
