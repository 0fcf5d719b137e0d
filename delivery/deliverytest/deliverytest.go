// Package deliverytest holds implementations of delivery.Store to their
// contract.
//
//	deliverytest.Test(t, func(t *testing.T) deliverytest.Place { ... })
package deliverytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/delivery"
)

// Place is a store and a way to see what is in it.
type Place struct {
	Store delivery.Store
	// Read returns the content at a path below the store's top; ok is false
	// when nothing is there.
	Read func(path string) (content []byte, ok bool)
}

// File returns content as a file.
func File(content []byte) delivery.File {
	return delivery.File{Size: int64(len(content)), Sum: sha256.Sum256(content), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

// Test runs the suite over places that open makes, each empty.
func Test(t *testing.T, open func(t *testing.T) Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"contents": testContents, "names": testNames, "replaced": testReplaced, "concurrent": testConcurrent,
		"broken": testBroken, "unopened": testUnopened, "cancelled": testCancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(t *testing.T, p Place, path string, content []byte) {
	t.Helper()
	if err := p.Store.Put(t.Context(), path, File(content)); err != nil {
		t.Fatalf("Put(%q) = %v", path, err)
	}
	see(t, p, path, content)
}

func see(t *testing.T, p Place, path string, want []byte) {
	t.Helper()
	if got, ok := p.Read(path); !ok || !bytes.Equal(got, want) {
		t.Errorf("%q holds %d bytes (there: %v), want the %d that were put", path, len(got), ok, len(want))
	}
}

// Content returns n bytes that no other seed gives.
func Content(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // never fails
	return b
}

func testContents(t *testing.T, p Place) {
	for path, n := range map[string]int{"empty": 0, "one": 1, "page": 4096, "deep/er/file.bin": 1 << 20, "large": 18<<20 + 1} {
		put(t, p, path, Content(n, uint64(n)))
	}
}

func testNames(t *testing.T, p Place) {
	for i, path := range []string{"with space", "ümläut/日本", "a+b=c&d", "50%off", "q?x#y", ".hidden", "a..b", "semi;colon"} {
		put(t, p, path, Content(100, uint64(i)))
	}
}

func testReplaced(t *testing.T, p Place) {
	put(t, p, "a/b", Content(5000, 1))
	put(t, p, "a/b", Content(300, 2))
	put(t, p, "a/b", Content(300, 2))
}

func testConcurrent(t *testing.T, p Place) {
	var g errgroup.Group
	paths := strings.Fields("x/1 x/2 x/3 y/1 y/2 z")
	for i, path := range paths {
		g.Go(func() error { return p.Store.Put(t.Context(), path, File(Content(70_000, uint64(i)))) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, path := range paths {
		see(t, p, path, Content(70_000, uint64(i)))
	}
}

// What is not what was announced leaves what was there before, or what was
// announced where all of that came before the difference did.
func testBroken(t *testing.T, p Place) {
	before := Content(1000, 1)
	put(t, p, "kept", before)
	good := File(Content(200_000, 2))
	open := func(content []byte, end error) delivery.File {
		f := good
		f.Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(content), failing{end})), nil
		}
		return f
	}
	whole, other := Content(200_000, 2), Content(200_000, 3)
	for name, f := range map[string]delivery.File{
		"short":     open(whole[:150_000], io.EOF),
		"long":      open(append(bytes.Clone(whole), 0), io.EOF),
		"another":   open(other, io.EOF),
		"read ends": open(whole[:150_000], errors.New("block is not there")),
	} {
		if err := p.Store.Put(t.Context(), "kept", f); err == nil {
			t.Errorf("Put of a file whose content is %s = nil", name)
		}
		if got, _ := p.Read("kept"); !bytes.Equal(got, before) && !bytes.Equal(got, whole) {
			t.Errorf("after a file whose content is %s %d bytes are there, neither the earlier nor the announced ones", name, len(got))
		}
	}
	put(t, p, "kept", whole) // the control: the same announcement with its content
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func testUnopened(t *testing.T, p Place) {
	f, gone := File(Content(10, 1)), errors.New("gone")
	f.Open = func(context.Context) (io.ReadCloser, error) { return nil, gone }
	if err := p.Store.Put(t.Context(), "x", f); !errors.Is(err, gone) {
		t.Errorf("Put = %v, want what Open said", err)
	}
	if _, there := p.Read("x"); there {
		t.Error("a file that could not be opened is there")
	}
}

func testCancelled(t *testing.T, p Place) {
	ctx, cancel := context.WithCancel(t.Context())
	content := Content(200_000, 1)
	f := File(content)
	f.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:1000]), ending{cancel}, bytes.NewReader(content[1000:]))), nil
	}
	err := p.Store.Put(ctx, "x", f)
	if got, there := p.Read("x"); there != (err == nil) || there && !bytes.Equal(got, content) {
		t.Errorf("Put under a context that ended = %v, and %d bytes are there (%v)", err, len(got), there)
	}
}

// ending ends a context when it is read.
type ending struct{ end func() }

func (e ending) Read([]byte) (int, error) {
	e.end()
	return 0, io.EOF
}
