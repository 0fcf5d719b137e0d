package stage_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/jobspec"
)

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// untar lists a tar stream.
func untar(t *testing.T, r io.Reader) []string {
	t.Helper()
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s has owner %d:%d %q and time %s", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		out = append(out, fmt.Sprintf("%o %s %s%s", h.Mode, h.Name, h.Linkname, data))
	}
}

func TestTar(t *testing.T) {
	b := dagtest.New(t)
	root := sample(b)
	var one, two bytes.Buffer
	for _, w := range []io.Writer{&one, &two} {
		if err := stage.Tar(context.Background(), b, root.CID, w, ipfs.Budget{}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two streams of one root differ")
	}
	want := []string{"755 a/ ", "644 a/file hello", "755 empty/ ", "644 exec suid", "644 two hellohello", "777 a/link ../exec"}
	if diff := cmp.Diff(want, untar(t, &one)); diff != "" {
		t.Errorf("Tar: %s", diff)
	}
}

func TestTarOfFile(t *testing.T) {
	b := dagtest.New(t)
	root := b.Raw([]byte("x"))
	var buf bytes.Buffer
	if err := stage.Tar(context.Background(), b, root.CID, &buf, ipfs.Budget{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"644 " + root.CID.String() + " x"}, untar(t, &buf)); diff != "" {
		t.Errorf("Tar: %s", diff)
	}
}

func TestTarLongNames(t *testing.T) {
	b := dagtest.New(t)
	n := b.Raw([]byte("x")).As(strings.Repeat("f", 255))
	for range 20 {
		n = b.Dir(n).As(strings.Repeat("ü", 127))
	}
	var buf bytes.Buffer
	if err := stage.Tar(context.Background(), b, n.CID, &buf, ipfs.Budget{}); err != nil {
		t.Fatal(err)
	}
	if got := untar(t, &buf); len(got) != 20 || len(got[19]) < 4096 {
		t.Errorf("Tar gave %d entries, want 20 with long names", len(got))
	}
}

func TestTarRefuses(t *testing.T) {
	b := dagtest.New(t)
	lie := b.PB(dagtest.UnixFS{Type: dagtest.TypeFile, Filesize: 9, Blocksizes: []uint64{9}}, b.Raw([]byte("x")))
	var buf bytes.Buffer
	err := stage.Tar(context.Background(), b, b.Dir(lie.As("f")).CID, &buf, ipfs.Budget{})
	if !errors.Is(err, jobspec.KindSizeMismatch.Error()) {
		t.Errorf("Tar of a lie about sizes = %v, want E_SIZE_MISMATCH", err)
	}
	tr := tar.NewReader(&buf)
	for err = nil; err == nil; {
		if _, err = tr.Next(); err == nil {
			_, err = io.Copy(io.Discard, tr)
		}
	}
	if err == io.EOF {
		t.Error("the broken stream has an end mark")
	}
}
