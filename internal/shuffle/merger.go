package shuffle

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// MergeConfig says what a Merger needs.
type MergeConfig struct {
	Kind      Kind
	Partition int    // that all runs must be of
	Memory    int64  // bytes for blocks
	Dir       string // merges in between go there; made when there is one
}

// MergeStats counts what a Merger did.
type MergeStats struct {
	Pairs, Records, Bytes    int64         // that were merged; bytes of keys and values
	Groups, LargestGroup     int64         // keys, and pairs of the key that has most
	Runs, Spills, SpillBytes int64         // that were read; merges in between
	BytesIn                  int64         // of the runs that were opened
	Merging                  time.Duration // of them, without the last one
}

// Merger merges the runs of a partition. Close it.
type Merger struct {
	cfg   MergeConfig
	stats MergeStats
	tree  *tree
	own   []spill
}

// OpenMerger opens the runs at paths. Of equal keys those of the first path
// come first. No path is an empty merge.
func OpenMerger(paths []string, cfg MergeConfig) (*Merger, error) {
	m := &Merger{cfg: cfg}
	m.stats.Runs = int64(len(paths))
	for _, p := range paths {
		if fi, err := os.Stat(p); err == nil {
			m.stats.BytesIn += fi.Size()
		}
	}
	if err := m.open(paths); err != nil {
		return nil, closeAfter(m, err)
	}
	for i, r := range m.tree.runs {
		if !m.tree.ended[i] && r.Part != cfg.Partition {
			return nil, closeAfter(m, m.foreign(r))
		}
	}
	m.tree.nextPart()
	return m, nil
}

// open opens the runs after as many passes as make them few enough.
func (m *Merger) open(paths []string) error {
	for fan := fanIn(m.cfg.Memory); ; {
		if len(paths) <= fan {
			t, err := openRuns(paths, m.cfg.Kind, false, m.cfg.Memory)
			if err != nil {
				return err
			}
			if len(t.runs) == len(paths) {
				m.tree = t
				return nil
			}
			if err := t.close(); err != nil {
				return err
			}
		}
		var err error
		if paths, err = m.pass(paths, fan); err != nil {
			return err
		}
	}
}

func closeAfter(c io.Closer, err error) error {
	_ = c.Close()
	return err
}

func (m *Merger) foreign(r *Reader) error {
	return fmt.Errorf("read run %s: it holds partition %d, want %d: was it made with another number of partitions?", r.name, r.Part, m.cfg.Partition)
}

// pass merges each group of neighbours into one run of ours.
func (m *Merger) pass(paths []string, fan int) ([]string, error) {
	start := time.Now()
	defer func() { m.stats.Merging += time.Since(start) }()
	if err := os.MkdirAll(m.cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory for merges: %w", err)
	}
	var out []string
	for len(paths) > 0 {
		n := min(fan, len(paths))
		if n == 1 {
			return append(out, paths[0]), nil
		}
		path := filepath.Join(m.cfg.Dir, fmt.Sprintf("merge-%06d", m.stats.Spills))
		n, err := m.mergeTo(path, paths[:n])
		if err != nil {
			return nil, err
		}
		out, paths = append(out, path), paths[n:]
	}
	return out, nil
}

// mergeTo merges the first runs, as many as openRuns opens, and returns how many
// these are.
func (m *Merger) mergeTo(path string, paths []string) (int, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("create merge: %w", err)
	}
	defer f.Close()
	m.own = append(m.own, spill{path})
	m.stats.Spills++
	t, err := openRuns(paths, m.cfg.Kind, false, m.cfg.Memory)
	if err != nil {
		return 0, err
	}
	defer t.close()
	w := NewWriter(f, m.cfg.Kind)
	defer func() { m.stats.SpillBytes += w.Bytes() }()
	for {
		part, ok := t.nextPart()
		if !ok {
			return len(t.runs), w.Close()
		}
		if err := t.writePart(w, part); err != nil {
			return 0, err
		}
	}
}

// Next returns the next record, nil at the end. It holds until the next call.
func (m *Merger) Next() (*Reader, error) {
	if len(m.tree.runs) == 0 {
		return nil, nil
	}
	r, err := m.tree.next()
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, m.finish()
	}
	m.stats.Records++
	m.stats.Pairs += int64(r.Count)
	m.stats.Bytes += int64(len(r.Key)+len(r.Value)) * int64(r.Count)
	return r, nil
}

// finish makes sure that every run was read to its end.
func (m *Merger) finish() error {
	for i, r := range m.tree.runs {
		if !m.tree.ended[i] {
			return m.foreign(r)
		}
	}
	return nil
}

// Stats returns what was done so far.
func (m *Merger) Stats() MergeStats { return m.stats }

// Close closes the runs and removes the merges in between.
func (m *Merger) Close() error {
	var err error
	if m.tree != nil {
		err = m.tree.close()
	}
	for _, s := range m.own {
		if e := os.Remove(s.path); e != nil && err == nil {
			err = fmt.Errorf("remove merge: %w", e)
		}
	}
	m.own = nil
	return err
}

// groups counts groups of equal keys.
type groups struct {
	stats *MergeStats
	key   []byte
	size  int64
	any   bool
}

// add counts a record and reports whether it begins a group.
func (g *groups) add(key []byte, count uint64) bool {
	begins := !g.any || !bytes.Equal(key, g.key)
	if begins {
		g.any, g.size = true, 0
		g.key = append(g.key[:0], key...)
		g.stats.Groups++
	}
	g.size += int64(count)
	g.stats.LargestGroup = max(g.stats.LargestGroup, g.size)
	return begins
}

// outSize is how many bytes are written at once.
const outSize = 256 << 10

// WriteLines writes all lines, each as often as it came and with its end.
func (m *Merger) WriteLines(w io.Writer) error {
	out := newPump(w)
	g := groups{stats: &m.stats}
	for {
		r, err := m.Next()
		if err != nil || r == nil {
			return out.finish(err)
		}
		g.add(LineKey(r.Key), r.Count)
		for left := r.Count; left > 0; {
			out.buf = append(append(out.buf, r.Key...), '\n')
			left--
			// What is there of this line is doubled until the buffer is full.
			for begin, line := len(out.buf)-len(r.Key)-1, len(r.Key)+1; left > 0 && len(out.buf) < outSize; {
				n := min(uint64((len(out.buf)-begin)/line), left)
				out.buf = append(out.buf, out.buf[begin:begin+int(n)*line]...)
				left -= n
			}
			if len(out.buf) >= outSize {
				if err := out.flush(); err != nil {
					return out.finish(err)
				}
			}
		}
	}
}
