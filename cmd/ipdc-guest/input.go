package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// input is the files of the shard, in the order of their paths as bytes.
type input struct {
	dir   string
	paths []string // below dir
}

func listInput(dir string) (*input, error) {
	in := &input{dir: dir}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("input %s is no file", p)
		}
		in.paths = append(in.paths, strings.TrimPrefix(p[len(dir):], "/"))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list inputs: %w", err)
	}
	slices.Sort(in.paths)
	return in, nil
}

func (in *input) open(path string) (*os.File, error) {
	f, err := os.Open(filepath.Join(in.dir, path))
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	return f, nil
}

// each opens one file after the other.
func (in *input) each(do func(path string, f *os.File) error) error {
	for _, p := range in.paths {
		f, err := in.open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(do(p, f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// copyTo writes all files one behind the other. With lines, a last line
// without an end gets one.
func (in *input) copyTo(w io.Writer, lines bool) error {
	buf := make([]byte, 256<<10)
	return in.each(func(p string, f *os.File) error {
		last := byte('\n')
		for {
			n, err := f.Read(buf)
			if n > 0 {
				last = buf[n-1]
				if _, werr := w.Write(buf[:n]); werr != nil {
					return &writeError{werr}
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return fmt.Errorf("read input: %w", err)
			}
		}
		if lines && last != '\n' {
			if _, err := w.Write([]byte{'\n'}); err != nil {
				return &writeError{err}
			}
		}
		return nil
	})
}

// writeError says that the program does not read any more, which is its right.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// whole returns the only file of the input if it can be read as it is.
func (in *input) whole(lines bool) (*os.File, bool) {
	if len(in.paths) != 1 {
		return nil, false
	}
	f, err := in.open(in.paths[0])
	if err != nil {
		return nil, false
	}
	var last [1]byte
	if fi, err := f.Stat(); err == nil {
		if !lines || fi.Size() == 0 {
			return f, true
		}
		if _, err := f.ReadAt(last[:], fi.Size()-1); err == nil && last[0] == '\n' {
			return f, true
		}
	}
	_ = f.Close()
	return nil, false
}
