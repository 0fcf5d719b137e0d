package shuffle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// spill is a run of all partitions in a file of ours.
type spill struct {
	path string
}

// spill writes what is held to a file and empties the buffers.
func (c *Collector) spill() error {
	if len(c.entries) == 0 {
		return nil
	}
	start := time.Now()
	bounds := c.sortEntries()
	err := c.newSpill(func(w *Writer) error { return c.write(w, bounds[0], bounds[len(bounds)-1]) })
	c.stats.Sorting += time.Since(start)
	c.empty()
	c.table.reset(true)
	return err
}

// newSpill appends a spill that fill writes.
func (c *Collector) newSpill(fill func(*Writer) error) error {
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory for spills: %w", err)
	}
	path := filepath.Join(c.cfg.Dir, fmt.Sprintf("spill-%06d", c.stats.Spills))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create spill: %w", err)
	}
	c.stats.Spills++
	c.spills = append(c.spills, spill{path})
	n, err := c.writeRun(f, fill)
	c.stats.SpillBytes += n
	return err
}

// writeRun writes one run to f and closes it.
func (c *Collector) writeRun(f io.WriteCloser, fill func(*Writer) error) (int64, error) {
	w := c.writers.Get().(*Writer)
	defer c.writers.Put(w)
	w.Reset(f)
	err := fill(w)
	if err == nil {
		err = w.Close()
	}
	return w.Bytes(), errors.Join(err, f.Close())
}

// write writes the sorted entries from lo to hi.
func (c *Collector) write(w *Writer, lo, hi int) error {
	for i := lo; i < hi; i++ {
		e := &c.entries[i]
		if err := w.Add(e.part(), c.key(e), c.value(e), uint64(e.count)); err != nil {
			return err
		}
	}
	return nil
}

// writeRuns sorts what is held and writes the runs, without a spill.
func (c *Collector) writeRuns(create func(part int) (io.WriteCloser, error)) error {
	start := time.Now()
	defer func() { c.stats.Sorting += time.Since(start) }()
	bounds := c.scatter()
	s := sorter{arena: c.arena}
	outs := make([]outcome, c.cfg.Partitioner.N())
	err := c.eachPartition(func(p int) error {
		lo, hi := bounds[p], bounds[p+1]
		if lo == hi {
			return nil
		}
		s.sort(c.entries[lo:hi], c.spare[lo:hi], 0)
		f, err := create(p)
		if err != nil {
			return err
		}
		outs[p].bytes, err = c.writeRun(f, func(w *Writer) error {
			err := c.write(w, lo, hi)
			outs[p].records = int64(w.Records())
			return err
		})
		return err
	})
	for _, o := range outs {
		c.count(o)
	}
	return err
}

// outcome is the size of a run that was left.
type outcome struct{ records, bytes int64 }

func (c *Collector) count(o outcome) {
	c.stats.Records += o.records
	c.stats.OutBytes += o.bytes
	c.stats.LargestPartitionOut = max(c.stats.LargestPartitionOut, o.bytes)
}

// mergeSpills merges the spills into the runs, in several passes where there
// are too many for one.
func (c *Collector) mergeSpills(create func(part int) (io.WriteCloser, error)) error {
	for fan := fanIn(c.cfg.Memory); ; {
		if len(c.spills) <= fan {
			m, err := openSpills(c.spills, c.cfg.Kind, c.cfg.Memory)
			if err != nil {
				return err
			}
			if len(m.runs) == len(c.spills) {
				return errors.Join(c.mergeInto(m, create), m.close())
			}
			if err := m.close(); err != nil {
				return err
			}
		}
		// The first ones into one at the end would change the order of equal
		// keys: neighbours only, and the new one in their place.
		if err := c.mergePass(fan); err != nil {
			return err
		}
	}
}

// mergeInto writes the run of each partition.
func (c *Collector) mergeInto(m *tree, create func(part int) (io.WriteCloser, error)) error {
	for {
		part, ok := m.nextPart()
		if !ok {
			return nil
		}
		f, err := create(part)
		if err != nil {
			return err
		}
		var o outcome
		o.bytes, err = c.writeRun(f, func(w *Writer) error {
			err := m.writePart(w, part)
			o.records = int64(w.Records())
			return err
		})
		if err != nil {
			return err
		}
		c.count(o)
	}
}

// mergePass merges each group of neighbours into one spill.
func (c *Collector) mergePass(fan int) error {
	old := c.spills
	c.spills = nil
	for len(old) > 0 {
		n := min(fan, len(old))
		if n == 1 {
			c.spills = append(c.spills, old...)
			break
		}
		n, err := c.mergeGroup(old[:n])
		if err != nil {
			c.spills = append(c.spills, old...)
			return err
		}
		old = old[n:]
	}
	return nil
}

// mergeGroup merges the first spills, as many as openSpills opens, and returns
// how many these are.
func (c *Collector) mergeGroup(group []spill) (int, error) {
	m, err := openSpills(group, c.cfg.Kind, c.cfg.Memory)
	if err != nil {
		return 0, err
	}
	defer m.close()
	err = c.newSpill(func(w *Writer) error {
		for {
			part, ok := m.nextPart()
			if !ok {
				return nil
			}
			if err := m.writePart(w, part); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return 0, err
	}
	for _, s := range group[:len(m.runs)] {
		if err := os.Remove(s.path); err != nil {
			return 0, fmt.Errorf("remove spill: %w", err)
		}
	}
	return len(m.runs), nil
}
