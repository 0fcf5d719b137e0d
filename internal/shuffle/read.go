package shuffle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// LineKey returns what of a line decides its partition and its group: what
// stands before the first tab, or the whole line.
func LineKey(line []byte) []byte {
	if i := bytes.IndexByte(line, '\t'); i >= 0 {
		return line[:i]
	}
	return line
}

const (
	readSize = 256 << 10
	padding  = 8 // bytes behind a chunk that may be read, whatever they are
)

// ReadLines takes in all lines of r. A last line without an end is a line.
func (c *Collector) ReadLines(r io.Reader) error {
	return eachChunk(r, c.MaxRecord(), c.addLines)
}

// EachLine calls do for all lines of r, without their ends. A last line without
// an end is a line. One of more than limit bytes is refused.
func EachLine(r io.Reader, limit int64, do func(line []byte) error) error {
	return eachChunk(r, limit, func(chunk []byte) error {
		for len(chunk) > 0 {
			i := bytes.IndexByte(chunk, '\n')
			if err := do(chunk[:i]); err != nil {
				return err
			}
			chunk = chunk[i+1:]
		}
		return nil
	})
}

// eachChunk calls do for pieces of whole lines, each with its end, and with
// padding behind them.
func eachChunk(r io.Reader, limit int64, do func(chunk []byte) error) error {
	buf, have := make([]byte, readSize+padding), 0
	for {
		n, err := r.Read(buf[have : len(buf)-padding])
		have += n
		if err == io.EOF && have > 0 && buf[have-1] != '\n' {
			buf[have] = '\n'
			have++
		}
		whole := bytes.LastIndexByte(buf[have-min(n+1, have):have], '\n') + 1
		if whole > 0 {
			whole += have - min(n+1, have)
			if err := do(buf[:whole]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if have = copy(buf, buf[whole:have]); have < len(buf)-padding {
			continue
		}
		if int64(have) > limit {
			return tooLong("a line", int64(have), limit)
		}
		buf = append(buf, make([]byte, have)...)
	}
}

// addLines takes the lines of a chunk in. A line that is in the table already,
// as most are where it pays, costs no call.
func (c *Collector) addLines(chunk []byte) error {
	padded := chunk[:len(chunk)+padding]
	for at := 0; at < len(chunk); {
		prefix, n := firstBytes(padded[at:])
		if n < 0 {
			n = 8 + bytes.IndexByte(chunk[at+8:], '\n')
		}
		line := chunk[at : at+n]
		at += n + 1
		if c.table.on && c.countLine(prefix, line) {
			c.stats.Pairs++
			c.stats.Bytes += int64(n)
			continue
		}
		if err := c.Add(line, nil); err != nil {
			return err
		}
	}
	return nil
}

// countLine counts a line whose entry the first slot that may have it has.
func (c *Collector) countLine(prefix uint64, line []byte) bool {
	hash := tableHash(prefix, line)
	s := c.table.slots[c.table.home(hash)]
	if s.hash != hash {
		return false
	}
	e := &c.entries[s.index]
	if !c.hasKey(e, prefix, line) || e.count == maxCount {
		return false
	}
	e.count++
	c.table.hits++
	return true
}

// firstBytes returns what loadPrefix returns of the line at which b begins, and
// the line's length if that is below 8, else -1.
func firstBytes(b []byte) (prefix uint64, n int) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	w := binary.LittleEndian.Uint64(b)
	x := w ^ '\n'*ones
	prefix = bits.ReverseBytes64(w)
	end := (x - ones) &^ x & highs // the lowest bit set is that of the first '\n'
	if end == 0 {
		return prefix, -1
	}
	n = bits.TrailingZeros64(end) / 8
	return prefix &^ (^uint64(0) >> (8 * n)), n
}

func tooLong(what string, n, limit int64) error {
	return fmt.Errorf("%s has %d bytes or more: with this task's memory it may have %d; give the task more", what, n, limit)
}
