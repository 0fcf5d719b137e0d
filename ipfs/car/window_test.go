package car_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

// leavesCAR is a stream of n blocks of 1,000 bytes.
func leavesCAR(t *testing.T, n int) (list []jobspec.CID, stream []byte) {
	t.Helper()
	m := ipfstest.NewMemory()
	for i := range n {
		list = append(list, putLeaf(t, m, fmt.Sprintf("%01000d", i)))
	}
	var b bytes.Buffer
	if err := car.WriteBlocks(t.Context(), &b, m, list[0], list); err != nil {
		t.Fatal(err)
	}
	return list, b.Bytes()
}

func TestWindow(t *testing.T) {
	list, stream := leavesCAR(t, 100)
	r := bytes.NewReader(stream)
	w := car.NewWindow(r, 20_000) // 15 blocks with what each costs
	for _, step := range []struct {
		block int
		want  bool
	}{
		{0, true}, {1, true},
		{5, true}, {3, true}, {2, true}, {4, true}, // near
		{3, false},               // given already: 16 blocks are read past for it
		{90, false}, {23, false}, // and there is no room for more
		{7, true}, {22, true}, {23, true},
		{25, false}, {24, true}, {25, true}, {26, true},
	} {
		data, ok := w.Take(list[step.block])
		if ok != step.want || (ok && string(data) != fmt.Sprintf("%01000d", step.block)) {
			t.Fatalf("Take of block %d = %.20q..., %t, want %t", step.block, data, ok, step.want)
		}
	}

	all := car.NewWindow(bytes.NewReader(stream), 1)
	for i, c := range list {
		if _, ok := all.Take(c); !ok {
			t.Errorf("Take in the order of the stream: no block %d", i)
		}
	}
	if _, ok := all.Take(list[0]); ok {
		t.Error("Take behind the end gives a block again")
	}
}

// What is damaged is not given, and no stream is read for ever.
func TestWindowHostile(t *testing.T) {
	list, stream := leavesCAR(t, 3)
	for at := range stream {
		damaged := bytes.Clone(stream)
		damaged[at] ^= 0x10
		w := car.NewWindow(bytes.NewReader(damaged), 1<<20)
		for i, c := range list {
			if data, ok := w.Take(c); ok && string(data) != fmt.Sprintf("%01000d", i) {
				t.Errorf("bit of byte %d flipped: block %d is given as %.20q...", at, i, data)
			}
		}
	}
	section := stream[len(stream)-(2+36+1000):]
	endless := &repeat{section: section}
	w := car.NewWindow(io.MultiReader(bytes.NewReader(stream), endless), 1<<20)
	if _, ok := w.Take(leafOf("absent")); ok || endless.read > 2<<20 {
		t.Errorf("Take of what an endless stream has not = %t after %d bytes, want false after about 1 MiB", ok, endless.read)
	}
}

type repeat struct {
	section []byte
	read    int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.section[r.read%len(r.section):])
	r.read += n
	return n, nil
}
