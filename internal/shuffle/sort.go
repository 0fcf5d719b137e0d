package shuffle

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// sortEntries brings the entries into order: by partition, by key, equal keys
// as they came. It returns where each partition begins, and where the last one
// ends.
func (c *Collector) sortEntries() []int {
	bounds := c.scatter()
	s := sorter{arena: c.arena}
	c.eachPartition(func(p int) error {
		lo, hi := bounds[p], bounds[p+1]
		s.sort(c.entries[lo:hi], c.spare[lo:hi], 0)
		return nil
	})
	return bounds
}

// scatter orders the entries by partition and keeps their order within.
func (c *Collector) scatter() []int {
	n := c.cfg.Partitioner.N()
	bounds := make([]int, n+1)
	if n == 1 {
		bounds[1] = len(c.entries)
		return bounds
	}
	for i := range c.entries {
		bounds[c.entries[i].part()+1]++
	}
	for p := range n {
		bounds[p+1] += bounds[p]
	}
	next := slices.Clone(bounds[:n])
	out := c.spare[:len(c.entries)]
	for i := range c.entries {
		p := c.entries[i].part()
		out[next[p]] = c.entries[i]
		next[p]++
	}
	c.entries, c.spare = out, c.entries[:cap(c.entries)]
	return bounds
}

// eachPartition calls do for every partition, several at a time, and returns
// the first error in the order of partitions.
func (c *Collector) eachPartition(do func(part int) error) error {
	n := c.cfg.Partitioner.N()
	errs := make([]error, n)
	var next atomic.Int64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range min(c.cfg.Threads, n) {
		workers.Go(func() {
			for p := int(next.Add(1)) - 1; p < n && !failed.Load(); p = int(next.Add(1)) - 1 {
				if errs[p] = do(p); errs[p] != nil {
					failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
	return cmp.Or(errs...)
}

// sorter sorts entries by their keys: most significant byte first over the
// eight bytes that each entry has with it, then over the next eight.
type sorter struct {
	arena []byte
}

// small is how many entries are sorted by insertion.
const small = 24

// sort sorts a, whose keys are equal up to depth and whose prefixes are those
// behind it. tmp is as long as a.
func (s *sorter) sort(a, tmp []entry, depth int) {
	s.radix(a, tmp, 56, depth)
}

// radix sorts a by the bytes of the prefixes from shift down.
func (s *sorter) radix(a, tmp []entry, shift, depth int) {
	if len(a) <= small {
		s.insertion(a, depth)
		return
	}
	var same, first uint64 = 0, a[0].prefix
	for i := range a {
		same |= a[i].prefix ^ first
	}
	if same == 0 {
		s.tails(a, tmp, depth)
		return
	}
	for same>>shift&0xff == 0 {
		shift -= 8
	}
	var ends [256]int
	for i := range a {
		ends[byte(a[i].prefix>>shift)]++
	}
	at := 0
	for b, n := range ends {
		ends[b] = at
		at += n
	}
	tmp = tmp[:len(a)]
	for i := range a {
		b := byte(a[i].prefix >> shift)
		tmp[ends[b]] = a[i]
		ends[b]++
	}
	copy(a, tmp)
	lo := 0
	for _, hi := range ends {
		switch {
		case hi-lo < 2:
		case shift == 0:
			s.tails(a[lo:hi], tmp[lo:hi], depth)
		default:
			s.radix(a[lo:hi], tmp[lo:hi], shift-8, depth)
		}
		lo = hi
	}
}

// tails sorts entries whose prefixes are equal. Those whose keys end within
// the prefix come first, the shorter before the longer: their zeros are either
// bytes of the key or what stands behind its end.
func (s *sorter) tails(a, tmp []entry, depth int) {
	if len(a) <= small {
		s.insertion(a, depth)
		return
	}
	deeper := s.common(a, depth+8)
	if deeper < 0 {
		slices.SortFunc(a, func(x, y entry) int { return cmp.Compare(x.ref, y.ref) })
		return
	}
	ended := 0
	for i := range a {
		if int(a[i].klen) <= deeper {
			a[ended], a[i] = a[i], a[ended]
			ended++
		}
	}
	slices.SortFunc(a[:ended], func(x, y entry) int {
		return cmp.Or(cmp.Compare(x.klen, y.klen), cmp.Compare(x.ref, y.ref))
	})
	if a = a[ended:]; len(a) == 0 {
		return
	}
	for i := range a {
		off := a[i].off()
		a[i].prefix = loadPrefix(s.arena[off+uint64(deeper) : off+uint64(a[i].klen)])
	}
	s.sort(a, tmp[ended:], deeper)
}

// common returns up to where all keys that go on behind depth are equal, at
// least depth, or -1 if all keys are equal.
func (s *sorter) common(a []entry, depth int) int {
	first, all, n := s.tail(&a[0], depth), true, -1
	for i := range a {
		t := s.tail(&a[i], depth)
		all = all && a[i].klen == a[0].klen
		if int(a[i].klen) <= depth {
			all = all && int(a[0].klen) <= depth
			continue
		}
		if n < 0 {
			first, n = t, len(t)
		}
		same := 0
		for n = min(n, len(t)); same < n && t[same] == first[same]; same++ {
		}
		n = same
		all = all && same == len(first)
		if n == 0 {
			return depth
		}
	}
	if all {
		return -1
	}
	return depth + max(n, 0)
}

// tail returns what of a key stands behind depth.
func (s *sorter) tail(e *entry, depth int) []byte {
	off, end := e.off(), e.off()+uint64(e.klen)
	return s.arena[min(off+uint64(depth), end):end]
}

func (s *sorter) insertion(a []entry, depth int) {
	for i := 1; i < len(a); i++ {
		e := a[i]
		j := i
		for ; j > 0 && s.less(&e, &a[j-1], depth); j-- {
			a[j] = a[j-1]
		}
		a[j] = e
	}
}

func (s *sorter) less(x, y *entry, depth int) bool {
	if x.prefix != y.prefix {
		return x.prefix < y.prefix
	}
	d := depth + 8
	if int(x.klen) > d && int(y.klen) > d {
		if c := bytes.Compare(s.tail(x, d), s.tail(y, d)); c != 0 {
			return c < 0
		}
	} else if x.klen != y.klen {
		return x.klen < y.klen
	}
	return x.ref < y.ref
}
