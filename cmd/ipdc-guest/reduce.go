package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ipdc/ipdc/internal/shuffle"
)

// runReduce merges the runs of one partition for the user's command, whose
// output is the part of the result.
func (s *stage) runReduce() error {
	part, runs, err := s.findRuns()
	if err != nil {
		return err
	}
	m, err := shuffle.OpenMerger(runs, shuffle.MergeConfig{Kind: s.kind, Partition: part, Memory: s.budget(), Dir: s.spillDir()})
	if err != nil {
		return err
	}
	defer m.Close()
	w, err := s.createPart(part)
	if err != nil {
		return err
	}
	out := w.(*os.File)
	write := m.WriteLines
	if s.kind == shuffle.Frames {
		write = m.WriteFrames
	}
	if len(s.command) == 0 {
		err = write(out)
	} else {
		err = s.do(s.program, call{
			what: "reducer", command: s.command, stdout: out,
			feed: func(w io.Writer) error { return asWriteError(write(w)) },
		})
	}
	s.countMerge(m.Stats(), out)
	return errors.Join(err, out.Close())
}

// asWriteError marks what says that the reader of a pipe is gone.
func asWriteError(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, fs.ErrClosed) {
		return &writeError{err}
	}
	return err
}

func (s *stage) countMerge(st shuffle.MergeStats, out *os.File) {
	for name, n := range map[string]int64{
		"pairs": st.Pairs, "bytes": st.Bytes, "records": st.Records, "groups": st.Groups, "largest_group": st.LargestGroup, "runs": st.Runs,
		"bytes_in": st.BytesIn, "spills": st.Spills, "bytes_spilled": st.SpillBytes, "ms_merge": st.Merging.Milliseconds(),
	} {
		s.counters["reduce."+name] = n
	}
	if fi, err := out.Stat(); err == nil {
		s.counters["reduce.bytes_out"] = fi.Size()
	}
}

// findRuns returns the partition, and its runs in the order of their names.
func (s *stage) findRuns() (int, []string, error) {
	dir := s.at(s.data)
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0, nil, fmt.Errorf("list inputs: %w", err)
	}
	if len(list) != 1 || !list[0].IsDir() {
		return 0, nil, fmt.Errorf("%s has %d entries: want the directory of one partition, %s for the first", s.data, len(list), partName(0))
	}
	name := list[0].Name()
	part, err := strconv.Atoi(strings.TrimPrefix(name, "part-"))
	if err != nil || partName(part) != name {
		return 0, nil, fmt.Errorf("%s holds %q, want the directory of one partition, %s for the first", s.data, name, partName(0))
	}
	dir = filepath.Join(dir, name)
	in, err := listInput(dir)
	if err != nil {
		return 0, nil, err
	}
	for i, p := range in.paths {
		in.paths[i] = filepath.Join(dir, p)
	}
	return part, in.paths, nil
}
