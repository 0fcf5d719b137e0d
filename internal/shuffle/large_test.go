package shuffle_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/shuffle"
)

// Runs whose blocks are too large to have all in memory are merged in passes,
// to the same bytes.
func TestRunsOfLargeRecords(t *testing.T) {
	dir, value := t.TempDir(), strings.Repeat("v", 1<<20)
	var paths []string
	for i := range 12 {
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("%08d", i)))
		data := run(t, shuffle.Frames, []record{{Key: "k", Value: fmt.Sprint(i, value), Count: 1}, {Key: "l", Value: fmt.Sprint(i), Count: 1}})
		if err := os.WriteFile(paths[i], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	small, st := merge(t, paths, shuffle.MergeConfig{Kind: shuffle.Frames, Memory: 4 << 20})
	large, whole := merge(t, paths, shuffle.MergeConfig{Kind: shuffle.Frames, Memory: 64 << 20})
	if st.Spills < 2 || whole.Spills != 0 {
		t.Errorf("%d passes with 4 MiB, %d with 64, want some and none", st.Spills, whole.Spills)
	}
	if !bytes.Equal(small, large) {
		t.Error("the output depends on memory")
	}
	if pairs, groups := ungroup(t, small); len(pairs) != 24 || groups != 2 || pairs[23].Value != "11" {
		t.Errorf("%d pairs in %d groups", len(pairs), groups)
	}
}

// The same for spills, which give their room back while they are merged: one of
// a record of 9 MiB must not do so when it is only opened.
func TestSpillsOfLargeRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	value := bytes.Repeat([]byte("v"), 9<<20)
	add := func(c *shuffle.Collector) error {
		for i := range 24 {
			if err := c.Add([]byte{byte(r.IntN(3))}, append(value[:len(value):len(value)], byte(i))); err != nil {
				return err
			}
		}
		return nil
	}
	var outs [2]map[string][]byte
	for i, memory := range []int64{40 << 20, 400 << 20} {
		r = rand.New(rand.NewPCG(9, 9))
		dir, st := collect(t, shuffle.Config{Kind: shuffle.Frames, Partitioner: shuffle.Hash(2), Memory: memory}, add)
		// 24 records of 9 MiB: 6 spills of 4, more are those of passes.
		if (i == 0) != (st.Spills > 6) {
			t.Errorf("%d spills with %d MiB", st.Spills, memory>>20)
		}
		outs[i] = files(t, dir)
	}
	for name, data := range outs[1] {
		if !bytes.Equal(outs[0][name], data) {
			t.Errorf("%s depends on memory", name)
		}
	}
	if len(outs[0]) != len(outs[1]) || len(outs[1]) == 0 {
		t.Errorf("%d and %d runs", len(outs[0]), len(outs[1]))
	}
}

// A large key is written once, not in each block of its group.
func TestLargeKeyOfManyValues(t *testing.T) {
	key := strings.Repeat("k", 256<<10)
	records := make([]record, 60)
	for i := range records {
		records[i] = record{Key: key, Value: fmt.Sprintf("%020d", i), Count: 1}
	}
	path := filepath.Join(t.TempDir(), "run")
	if err := os.WriteFile(path, run(t, shuffle.Frames, records), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := merge(t, []string{path}, shuffle.MergeConfig{Kind: shuffle.Frames, Memory: 8 << 20})
	if len(out) > 2<<20 {
		t.Errorf("%d bytes for a key of 256 KiB and 60 small values", len(out))
	}
	if pairs, groups := ungroup(t, out); len(pairs) != len(records) || groups != 1 || pairs[len(pairs)-1].Key != key {
		t.Errorf("%d pairs in %d groups", len(pairs), groups)
	}
}
