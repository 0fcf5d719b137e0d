package shuffle

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"sync"
	"time"
)

// Config says what a Collector needs.
type Config struct {
	Kind        Kind
	Partitioner Partitioner
	Memory      int64  // bytes for pairs that are held; less than 1 MiB counts as 1 MiB
	Dir         string // spills go there; made when the first one is written
	Threads     int    // for sorting; 0 = as many as Go uses
}

func (c Config) withDefaults() Config {
	c.Memory = min(max(c.Memory, 1<<20), 1<<36)
	if c.Threads <= 0 {
		c.Threads = runtime.GOMAXPROCS(0)
	}
	return c
}

// Stats counts what a Collector did.
type Stats struct {
	Pairs, Bytes        int64 // that came; bytes of keys and values
	Records, OutBytes   int64 // in the runs that were left; runs of equal pairs are one record
	Spills, SpillBytes  int64 // all files written on the way, those of merges in between included
	Sorting, Merging    time.Duration
	LargestPartitionOut int64 // bytes of the largest run
}

// Collector takes pairs and leaves one sorted run for each partition. It is not
// safe for concurrent use.
type Collector struct {
	cfg   Config
	stats Stats

	buffers
	table   table
	spills  []spill
	writers sync.Pool // of *Writer
}

// entry is a record that is held.
type entry struct {
	prefix uint64 // first 8 bytes of the key, big-endian, zeros behind its end
	ref    uint64 // partition<<48 | where the key stands in the arena
	klen   uint32
	count  uint32
}

const (
	entrySize = 24
	maxCount  = math.MaxUint32
	offMask   = 1<<48 - 1
)

func (e *entry) off() uint64 { return e.ref & offMask }
func (e *entry) part() int   { return int(e.ref >> 48) }

// NewCollector returns a collector. Close it.
func NewCollector(cfg Config) *Collector {
	cfg = cfg.withDefaults()
	c := &Collector{cfg: cfg, writers: sync.Pool{New: func() any { return NewWriter(nil, cfg.Kind) }}}
	c.table.reset(true)
	return c
}

// MaxRecord returns how many bytes a key and its value may have together.
func (c *Collector) MaxRecord() int64 { return min(c.cfg.Memory/4, maxPayload/2) }

// Stats returns what was done so far.
func (c *Collector) Stats() Stats { return c.stats }

// Add takes a pair in. Of lines the whole line is the key, and there is no
// value.
func (c *Collector) Add(key, value []byte) error {
	c.stats.Pairs++
	c.stats.Bytes += int64(len(key) + len(value))
	need := int64(len(key)+len(value)+4) + 2*entrySize // 4: a value's length
	if c.used()+need > c.cfg.Memory || c.arena == nil || need > c.MaxRecord() {
		if err := c.makeRoom(int64(len(key) + len(value))); err != nil {
			return err
		}
	}
	prefix := loadPrefix(key)
	if !c.table.on {
		c.insert(prefix, key, value)
		return nil
	}
	hash := tableHash(prefix, key)
	slot, found := c.find(hash, prefix, key)
	if found {
		if e := &c.entries[c.table.slots[slot].index]; e.count < maxCount && c.hasValue(e, value) {
			e.count++
			c.table.hits++
			return nil
		}
	}
	c.table.set(slot, found, hash, uint32(len(c.entries)))
	c.insert(prefix, key, value)
	c.table.review(len(c.entries))
	return nil
}

// find returns the slot of the table that has a key's last entry, or the free
// one in which it belongs.
func (c *Collector) find(hash uint32, prefix uint64, key []byte) (slot int, found bool) {
	mask := len(c.table.slots) - 1
	for i := c.table.home(hash); ; i = (i + 1) & mask {
		switch s := c.table.slots[i]; {
		case s.hash == 0:
			return i, false
		case s.hash == hash && c.hasKey(&c.entries[s.index], prefix, key):
			return i, true
		}
	}
}

// insert appends an entry. There is room.
func (c *Collector) insert(prefix uint64, key, value []byte) {
	off := uint64(len(c.arena))
	part := uint64(c.cfg.Partitioner.Of(c.partitionKey(key)))
	c.arena = append(c.arena, key...)
	if c.cfg.Kind == Frames {
		c.arena = binary.LittleEndian.AppendUint32(c.arena, uint32(len(value)))
		c.arena = append(c.arena, value...)
	}
	c.entries = append(c.entries, entry{prefix, part<<48 | off, uint32(len(key)), 1})
}

// partitionKey returns what of a record's key decides its partition.
func (c *Collector) partitionKey(key []byte) []byte {
	if c.cfg.Kind == Lines && c.cfg.Partitioner.n > 1 {
		return LineKey(key)
	}
	return key
}

func (c *Collector) hasKey(e *entry, prefix uint64, key []byte) bool {
	return e.prefix == prefix && int(e.klen) == len(key) &&
		(len(key) <= 8 || string(c.arena[e.off():e.off()+uint64(e.klen)]) == string(key))
}

func (c *Collector) hasValue(e *entry, value []byte) bool {
	return c.cfg.Kind == Lines || string(c.value(e)) == string(value)
}

func (c *Collector) key(e *entry) []byte {
	return c.arena[e.off() : e.off()+uint64(e.klen)]
}

func (c *Collector) value(e *entry) []byte {
	if c.cfg.Kind == Lines {
		return nil
	}
	at := e.off() + uint64(e.klen)
	n := uint64(binary.LittleEndian.Uint32(c.arena[at:]))
	return c.arena[at+4 : at+4+n]
}

// used returns how many bytes are held, and were ever touched at once: what
// was touched stays resident.
func (c *Collector) used() int64 {
	return int64(len(c.arena)) + 2*entrySize*int64(len(c.entries)) + c.table.size()
}

// makeRoom makes the buffers, or empties them into a spill. Both have the size
// of all memory: only what is used of them becomes resident.
func (c *Collector) makeRoom(record int64) error {
	if record+4+2*entrySize > c.MaxRecord() {
		what := map[Kind]string{Lines: "a line", Frames: "a pair"}[c.cfg.Kind]
		return tooLong(what, record, c.MaxRecord()-4-2*entrySize)
	}
	if c.arena == nil {
		return c.open(c.cfg.Memory)
	}
	return c.spill()
}

// Finish writes the run of each partition that has pairs to what create makes
// for it; calls of create may be concurrent. Then the collector is empty.
func (c *Collector) Finish(create func(part int) (io.WriteCloser, error)) error {
	if len(c.spills) == 0 {
		return c.writeRuns(create)
	}
	if err := c.spill(); err != nil {
		return err
	}
	c.release()
	c.table.reset(false)
	start := time.Now()
	defer func() { c.stats.Merging += time.Since(start) }()
	return c.mergeSpills(create)
}

// Close removes the spills and gives all memory back.
func (c *Collector) Close() error {
	c.release()
	var first error
	for _, s := range c.spills {
		if err := os.Remove(s.path); err != nil && first == nil {
			first = fmt.Errorf("remove spill: %w", err)
		}
	}
	c.spills = nil
	return first
}
