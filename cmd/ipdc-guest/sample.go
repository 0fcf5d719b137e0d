package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ipdc/ipdc/internal/shuffle"
	"github.com/ipdc/ipdc/wire/guest"
)

// sampleFile is what sample leaves in the outputs.
const sampleFile = "keys"

// Of lines, so many windows of so many bytes are given to the command, spread
// evenly over the input: cuts need no more, and a mapper takes its time.
const (
	windows    = 128
	windowSize = 64 << 10
)

// runSample leaves a sample of the keys that map would see.
func (s *stage) runSample() error {
	var sample shuffle.Sample
	limit := max(s.budget()/4, 1<<20)
	take := func(r io.Reader) error {
		if s.kind == shuffle.Frames {
			return shuffle.EachPair(r, limit, func(key, _ []byte) error {
				sample.Add(key)
				return nil
			})
		}
		return shuffle.EachLine(r, limit, func(line []byte) error {
			sample.Add(shuffle.LineKey(line))
			return nil
		})
	}
	if err := s.sampled(take, &sample); err != nil {
		return err
	}
	s.add("sample.pairs", sample.Pairs())
	s.add("sample.keys", sample.Keys())
	if err := os.WriteFile(filepath.Join(s.at(guest.Outputs), sampleFile), sample.Encode(), 0o644); err != nil {
		return fmt.Errorf("write sample: %w", err)
	}
	return nil
}

// sampled gives take the pairs of the input, or of windows of it where it is
// large and made of lines.
func (s *stage) sampled(take func(io.Reader) error, sample *shuffle.Sample) error {
	in, err := listInput(s.at(s.data))
	if err != nil {
		return err
	}
	all, err := in.bytes()
	if err != nil {
		return err
	}
	if s.kind == shuffle.Frames || s.records.perFile || s.records.asIs || all <= 2*windows*windowSize {
		return s.pairs(take)
	}
	text, err := in.windows(all)
	if err != nil {
		return err
	}
	if len(text) == 0 { // no line ends in any window
		return s.pairs(take)
	}
	if len(s.command) == 0 {
		err = take(bytes.NewReader(text))
	} else {
		err = s.do(s.program, call{what: "mapper", command: s.command, drain: take, feed: func(w io.Writer) error {
			if _, err := w.Write(text); err != nil {
				return &writeError{err}
			}
			return nil
		}})
	}
	sample.Scale(int64(len(text)), all)
	return err
}

// bytes returns the size of all files.
func (in *input) bytes() (n int64, err error) {
	for _, p := range in.paths {
		fi, err := os.Stat(filepath.Join(in.dir, p))
		if err != nil {
			return 0, fmt.Errorf("look at input: %w", err)
		}
		n += fi.Size()
	}
	return n, nil
}

// windows returns the whole lines of the windows of all bytes.
func (in *input) windows(all int64) (text []byte, err error) {
	buf, next, begin := make([]byte, windowSize), 0, int64(0)
	err = in.each(func(p string, f *os.File) error {
		fi, err := f.Stat()
		if err != nil {
			return fmt.Errorf("look at input: %w", err)
		}
		for ; next < windows; next++ {
			at := all/windows*int64(next) - begin
			if at >= fi.Size() {
				break
			}
			n, err := f.ReadAt(buf, at)
			if err != nil && err != io.EOF {
				return fmt.Errorf("read input: %w", err)
			}
			text = append(text, wholeLines(buf[:n], at == 0)...)
		}
		begin += fi.Size()
		return nil
	})
	return text, err
}

// wholeLines cuts what may be parts of lines off both ends.
func wholeLines(b []byte, first bool) []byte {
	if !first {
		b = b[bytes.IndexByte(b, '\n')+1:]
	}
	return b[:bytes.LastIndexByte(b, '\n')+1]
}
