package docker

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/ipdc/ipdc/jobspec"
)

// layer copies a layer while counting what it unpacks to.
func (s *sieve) layer(name string, size int64, r io.Reader, gzipped bool) error {
	if err := s.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return err
	}
	raw := io.TeeReader(r, s.out)
	plain := raw
	if gzipped {
		zr, err := gzip.NewReader(raw)
		if err != nil {
			return broken(name, err)
		}
		plain = zr
	}
	if err := s.count(name, &bounded{plain, s.max}); err != nil {
		return err
	}
	s.layers[name] = true
	_, err := io.Copy(io.Discard, raw)
	return err
}

// count reads a layer's tar to its end. The sizes in its headers count as
// they are, because a hole of a sparse file is unpacked to zeros.
func (s *sieve) count(name string, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return broken(name, err)
		}
		s.files++
		s.unpacked += max(h.Size, 0)
		if s.files > maxFiles {
			return jobspec.KindLimitEntries.Errorf("an image with more than %d files", maxFiles)
		}
		if s.unpacked > s.max {
			return jobspec.KindLimitBytes.Errorf("an image that unpacks to more than %d bytes", s.max)
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return broken(name, err)
	}
	return nil
}

const gzipMagic = "\x1f\x8b"

// compressed reports whether an engine would unpack b before reading it.
func compressed(b []byte) bool {
	for _, magic := range []string{gzipMagic, "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(b, []byte(magic)) {
			return true
		}
	}
	// Of zstd there are 16 magic numbers more, for frames to be skipped.
	return len(b) > 3 && b[0]&0xf0 == 0x50 && string(b[1:4]) == "\x2a\x4d\x18"
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// broken refuses a layer that cannot be read to its end, unless the error
// says more.
func broken(name string, err error) error {
	var fe *jobspec.FailureError
	if errors.As(err, &fe) || errors.Is(err, errUnread) {
		return err
	}
	return refuse("layer %q is not a whole tar: %v", name, err)
}

// bounded reads at most left bytes and fails on more.
type bounded struct {
	r    io.Reader
	left int64
}

// Read reads from the underlying reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, jobspec.KindLimitBytes.Errorf("an image layer that unpacks to more than its limit")
	}
	return n, err
}
