package cl

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ipdc/ipdc/jobspec"
)

// Bounds of a list.
const (
	MaxLines = 1_000_000 // far more than a node takes as the input of one job, 100,000
	// MaxLine is the length of the longest line in bytes: every system can hand
	// it to a program as a variable.
	MaxLine = 64 << 10
	MaxList = 256 << 20 // bytes in all
)

// Line is one line of a list.
type Line struct {
	Name string // of its file, and of its output: see [Read]
	Text []byte // without its line end
}

// Content is what the line's file holds: the line and a line feed.
func (l Line) Content() []byte { return append(bytes.Clone(l.Text), '\n') }

// Read reads a list: one line for each piece of work, in their order. Lines end
// with a line feed, before which a carriage return is no part of the line; the
// last one may lack it. Empty lines are left out. All other bytes are kept as
// they are.
//
// A line's name is what of it suits a file name and a short hash of all of it;
// the n-th of equal lines has -n behind that. A line keeps its name, and so
// what is remembered of it, when others come or go.
//
// What is too much is refused with kind E_LIMIT and its number.
func Read(r io.Reader) ([]Line, error) {
	in := bufio.NewReaderSize(r, MaxLine+2)
	var lines []Line
	used, total := names{}, int64(0)
	for number := 1; ; number++ {
		text, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("read list: %w", err)
		}
		last := errors.Is(err, io.EOF)
		total += int64(len(text))
		text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
		switch {
		case errors.Is(err, bufio.ErrBufferFull), len(text) > MaxLine:
			return nil, refuse(fmt.Sprintf("line %d has over %d bytes", number, MaxLine),
				"put what is long into files, and their names or CIDs into the list")
		case total > MaxList:
			return nil, refuse(fmt.Sprintf("the list has over %d bytes", MaxList), "cut it into several lists")
		case len(text) > 0 && len(lines) == MaxLines:
			return nil, refuse(fmt.Sprintf("the list has over %d lines", MaxLines), "cut it into several lists (split -l 100000)")
		case len(text) > 0:
			lines = append(lines, Line{Name: used.of(text), Text: bytes.Clone(text)})
		}
		if last {
			break
		}
	}
	if len(lines) == 0 {
		return nil, jobspec.Failure{Kind: jobspec.KindSpec, Where: "LIST", Detail: "the list has no line that is not empty", Hint: "give one line for each piece of work"}.Error()
	}
	return lines, nil
}

func refuse(detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindLimit, Where: "LIST", Detail: detail, Hint: hint}.Error()
}
