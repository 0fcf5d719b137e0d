package shuffle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
)

// fanIn returns how many runs are merged at once: each has a block in memory,
// and each is an open file, of which a task has 1024.
func fanIn(memory int64) int {
	return int(min(max(memory/(4*blockSize), 2), 256))
}

// tree merges sorted runs: a tree of losers (Knuth, The Art of Computer
// Programming, volume 3, 5.4.1). Records that are equal come in the order of
// their runs.
type tree struct {
	files   []*os.File
	runs    []*Reader
	ended   []bool   // the run has no further record
	live    []bool   // its record belongs to the partition that is merged
	prefix  []uint64 // of the record's key
	losers  []int    // inner nodes 1 to n-1; 0 holds the winner
	part    int
	started bool
}

// openRuns opens files as runs: the first ones, at least two, when the blocks of
// more would pass the memory, as those of large records do. Files that are ours
// give their room back while they are merged.
func openRuns(paths []string, kind Kind, ours bool, memory int64) (*tree, error) {
	t := &tree{}
	flags := map[bool]int{false: os.O_RDONLY, true: os.O_RDWR}[ours]
	var held int64
	for _, p := range paths {
		if len(t.runs) >= 2 && held > memory {
			break
		}
		f, err := os.OpenFile(p, flags, 0)
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.files = append(t.files, f)
		var in io.Reader = f
		if ours {
			in = &consumer{f: f, started: &t.started}
		}
		r, err := NewReader(in, p, kind)
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		ok, err := r.Next()
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.runs, t.ended = append(t.runs, r), append(t.ended, !ok)
		held += int64(cap(r.buf))
	}
	n := len(t.runs)
	t.live, t.prefix, t.losers = make([]bool, n), make([]uint64, n), make([]int, n)
	return t, nil
}

func openSpills(list []spill, kind Kind, memory int64) (*tree, error) {
	paths := make([]string, len(list))
	for i, s := range list {
		paths[i] = s.path
	}
	return openRuns(paths, kind, true, memory)
}

// consumer reads a file and gives back what it has read of it, so that a merge
// needs room for its records once and not twice.
type consumer struct {
	f            *os.File
	started      *bool // before that nothing is given back: the runs may be too many
	read, passed int64
}

// consumed is how much is given back at once, in bytes.
const consumed = 8 << 20

func (c *consumer) Read(b []byte) (int, error) {
	n, err := c.f.Read(b)
	if c.read += int64(n); *c.started && c.read-c.passed >= consumed {
		// A file system that cannot do it keeps the room to the end.
		const keepSize, punchHole = 1, 2
		_ = syscall.Fallocate(int(c.f.Fd()), keepSize|punchHole, c.passed, c.read-c.passed)
		c.passed = c.read
	}
	return n, err
}

func (t *tree) close() error {
	var err error
	for _, f := range t.files {
		err = errors.Join(err, f.Close())
	}
	t.files = nil
	return err
}

// nextPart goes to the lowest partition that any run is at.
func (t *tree) nextPart() (part int, ok bool) {
	for i, r := range t.runs {
		if !t.ended[i] && (!ok || r.Part < part) {
			part, ok = r.Part, true
		}
	}
	if !ok {
		return 0, false
	}
	t.part, t.started = part, false
	for i, r := range t.runs {
		t.live[i] = !t.ended[i] && r.Part == part
		t.prefix[i] = loadPrefix(r.Key)
	}
	return part, true
}

// next returns the run whose record is the next one of the partition, or nil.
func (t *tree) next() (*Reader, error) {
	n := len(t.runs)
	if !t.started {
		t.started = true
		t.losers[0] = t.build(1)
	} else {
		w := t.losers[0]
		if err := t.advance(w); err != nil {
			return nil, err
		}
		for node := (w + n) / 2; node > 0; node /= 2 {
			if l := t.losers[node]; t.less(l, w) {
				t.losers[node], w = w, l
			}
		}
		t.losers[0] = w
	}
	if w := t.losers[0]; t.live[w] {
		return t.runs[w], nil
	}
	return nil, nil
}

// build plays the matches below a node and returns their winner.
func (t *tree) build(node int) int {
	if node >= len(t.runs) {
		return node - len(t.runs)
	}
	a, b := t.build(2*node), t.build(2*node+1)
	if t.less(b, a) {
		a, b = b, a
	}
	t.losers[node] = b
	return a
}

func (t *tree) advance(i int) error {
	r := t.runs[i]
	ok, err := r.Next()
	if err != nil {
		return err
	}
	t.ended[i] = !ok
	t.live[i] = ok && r.Part == t.part
	t.prefix[i] = loadPrefix(r.Key)
	return nil
}

func (t *tree) less(a, b int) bool {
	switch {
	case !t.live[a] || !t.live[b]:
		return t.live[a] || !t.live[b] && a < b
	case t.prefix[a] != t.prefix[b]:
		return t.prefix[a] < t.prefix[b]
	}
	c := bytes.Compare(t.runs[a].Key, t.runs[b].Key)
	return c < 0 || c == 0 && a < b
}

// writePart writes the partition that nextPart returned.
func (t *tree) writePart(w *Writer, part int) error {
	for {
		r, err := t.next()
		if err != nil || r == nil {
			return err
		}
		if err := w.Add(part, r.Key, r.Value, r.Count); err != nil {
			return err
		}
	}
}
