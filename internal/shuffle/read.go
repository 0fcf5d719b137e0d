package shuffle

import (
	"bytes"
	"fmt"
	"io"
)

// LineKey returns what of a line decides its partition and its group: what
// stands before the first tab, or the whole line.
func LineKey(line []byte) []byte {
	if i := bytes.IndexByte(line, '\t'); i >= 0 {
		return line[:i]
	}
	return line
}

const readSize = 256 << 10

// ReadLines takes in all lines of r. A last line without an end is a line.
func (c *Collector) ReadLines(r io.Reader) error {
	return EachLine(r, c.MaxRecord(), func(line []byte) error { return c.Add(line, nil) })
}

// EachLine calls do for all lines of r, without their ends. A last line without
// an end is a line. One of more than limit bytes is refused.
func EachLine(r io.Reader, limit int64, do func(line []byte) error) error {
	buf, have := make([]byte, readSize), 0
	for {
		n, err := r.Read(buf[have:])
		have += n
		done := 0
		for {
			i := bytes.IndexByte(buf[done:have], '\n')
			if i < 0 {
				break
			}
			if err := do(buf[done : done+i]); err != nil {
				return err
			}
			done += i + 1
		}
		switch {
		case err == io.EOF && done < have:
			return do(buf[done:have])
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if have = copy(buf, buf[done:have]); have < len(buf) {
			continue
		}
		if int64(have) > limit {
			return tooLong("a line", int64(have), limit)
		}
		buf = append(buf, make([]byte, have)...)
	}
}

func tooLong(what string, n, limit int64) error {
	return fmt.Errorf("%s has %d bytes or more: with this task's memory it may have %d; give the task more", what, n, limit)
}
