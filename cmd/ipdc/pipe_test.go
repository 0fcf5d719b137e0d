package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestPipe sends writes of many sizes through a pipe to both kinds of reader.
func TestPipe(t *testing.T) {
	data := make([]byte, 5*pipeBytes)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	for name, read := range map[string]func(*pipe) ([]byte, error){
		"Read": func(p *pipe) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{p}) },
		"WriteTo": func(p *pipe) ([]byte, error) {
			var b bytes.Buffer
			_, err := p.WriteTo(&b)
			return b.Bytes(), err
		},
		"one after the other": func(p *pipe) ([]byte, error) {
			b := bytes.NewBuffer(make([]byte, 0, len(data)))
			if _, err := io.CopyN(b, struct{ io.Reader }{p}, 100); err != nil {
				return nil, err
			}
			_, err := p.WriteTo(b)
			return b.Bytes(), err
		},
	} {
		p := newPipe()
		var wg sync.WaitGroup
		wg.Go(func() {
			for i, rest := 1, data; len(rest) > 0; i = i*3 + 1 {
				n := min(i%(2*pipeBytes), len(rest))
				if k, err := p.Write(rest[:n]); k != n || err != nil {
					t.Errorf("Write of %d bytes = %d, %v", n, k, err)
				}
				rest = rest[n:]
			}
			p.finish(nil)
		})
		got, err := read(p)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s = %d bytes, %v, want the %d that were written", name, len(got), err, len(data))
		}
		wg.Wait()
	}
}

func TestPipeEnds(t *testing.T) {
	cause := errors.New("cause")
	p := newPipe()
	if _, err := p.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p.finish(cause)
	var b bytes.Buffer
	if n, err := p.WriteTo(&b); n != 1 || err != cause {
		t.Errorf("WriteTo of a writer that failed = %d, %v, want 1 byte and its error", n, err)
	}

	p = newPipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := p.Write(make([]byte, 1000)); err != nil { // waits at last
				if !errors.Is(err, io.ErrClosedPipe) {
					t.Errorf("Write after Close = %v, want io.ErrClosedPipe", err)
				}
				return
			}
		}
	})
	if _, err := p.take(); err != nil {
		t.Error(err)
	}
	_ = p.Close() // never fails
	wg.Wait()
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Read after Close = %v, want io.ErrClosedPipe", err)
	}
}
