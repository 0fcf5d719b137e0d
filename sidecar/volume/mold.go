package volume

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// shape is what a new file system depends on.
type shape struct {
	bytes, inodes int64
}

// maxMold bounds what a mold has in memory. A file system of 1 GiB with 10,000
// inodes takes about 0.2 MiB.
const maxMold = 2 << 20

// mold keeps the bytes of the last new file system: writing them again takes
// a small part of the time of mkfs. All file systems made from it have one
// UUID, which nobody looks at.
type mold struct {
	mu    sync.Mutex
	shape shape
	parts []part // nil = empty
}

type part struct {
	at   int64
	data []byte
}

// image makes a sparse file with a new file system in it.
func (m *mold) image(ctx context.Context, path string, s shape) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(m.fill(ctx, f, s), f.Close())
}

func (m *mold) fill(ctx context.Context, f *os.File, s shape) error {
	if err := f.Truncate(s.bytes); err != nil {
		return err
	}
	m.mu.Lock()
	parts := m.parts
	fits := m.shape == s && parts != nil
	m.mu.Unlock()
	if !fits {
		if err := makeFS(ctx, f.Name(), s); err != nil {
			return err
		}
		return m.take(f, s)
	}
	for _, p := range parts {
		if _, err := f.WriteAt(p.data, p.at); err != nil {
			return err
		}
	}
	return nil
}

// take keeps what is written in f, unless it is too much.
func (m *mold) take(f *os.File, s shape) error {
	parts, err := written(f)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shape, m.parts = s, parts
	return nil
}

// written returns the parts of a sparse file that are no holes, or none when
// they are more than maxMold.
func written(f *os.File) (parts []part, err error) {
	sum := int64(0)
	for at := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return parts, nil // only a hole is left
		}
		if err != nil {
			return nil, err
		}
		if at, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE); err != nil {
			return nil, err
		}
		if sum += at - from; sum > maxMold {
			return nil, nil
		}
		p := part{from, make([]byte, at-from)}
		if _, err := f.ReadAt(p.data, from); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		parts = append(parts, p)
	}
}
