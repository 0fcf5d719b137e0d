// Package delivery is the contract between a node and the places that results
// are sent to, and with those who are told that a job has ended.
//
//	var st delivery.Store = dir.New("/srv/results")
//	err := st.Put(ctx, "2026/a.png", delivery.File{Size: n, Sum: sum, Open: open})
//
// Invariants: a file that Put reported is whole at its path and durable as far
// as the place can tell; a Put that failed has left the earlier file of that
// path, or the whole new one, never a part; putting the same file again changes
// nothing. deliverytest holds any Store to this.
package delivery

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"time"
)

// Store takes files. Its methods may be called concurrently, for different
// paths. It does not try again: its caller does.
type Store interface {
	// Put stores a file at a path below the store's top, in place of one that
	// is there: slash-separated, no empty, "." or ".." segments. Directories
	// on the way are made where the place has such. What f.Open gives is
	// compared with f.Size and f.Sum; when it differs the Put fails.
	Put(ctx context.Context, path string, f File) error
}

// File is what is put.
type File struct {
	Size int64
	Sum  [sha256.Size]byte // SHA-256 of the content
	// Open gives the content; it is called once or, by a place that reads
	// twice, more often. Who calls it closes what it gives.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Receiver is told things. It may be called concurrently.
type Receiver interface {
	// Tell returns nil once the receiver has taken the message. It may be told
	// the same message again, with the same ID, after a crash or an error.
	Tell(ctx context.Context, m Message) error
}

// Message is what a Receiver is told.
type Message struct {
	ID   string    // the same each time that it is told
	Time time.Time // of this try
	Body []byte    // JSON
}

// Check returns r such that nobody can read it to the end unless it gives
// exactly the size and the sum of f: the bytes that would complete another
// content are kept back.
func (f File) Check(r io.Reader) io.Reader { return &checked{file: f, r: r, sum: sha256.New()} }

type checked struct {
	file File
	r    io.Reader
	n    int64
	sum  hash.Hash
	done bool
}

func (c *checked) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	_, _ = c.sum.Write(p[:n]) // never fails
	switch {
	case c.n < c.file.Size && err != io.EOF:
		return n, err
	case c.n == c.file.Size && [sha256.Size]byte(c.sum.Sum(nil)) == c.file.Sum && (err == io.EOF || c.ends()):
		c.done = true
		return n, nil
	}
	return 0, fmt.Errorf("what was read is not the file of %d bytes that it should be", c.file.Size)
}

// ends says whether nothing more comes.
func (c *checked) ends() bool {
	n, err := io.ReadFull(c.r, make([]byte, 1))
	return n == 0 && err == io.EOF
}
