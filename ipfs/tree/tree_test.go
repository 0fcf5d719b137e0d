package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// stream is a Getter that gives one fixed sequence of blocks, as a streamed
// CAR (order=dfs, dups=y) does, and fails at any other order.
type stream struct {
	ipfs.Getter
	next []jobspec.CID
}

func (s *stream) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if len(s.next) == 0 || s.next[0] != c {
		return nil, fmt.Errorf("asked for %s out of order", c)
	}
	s.next = s.next[1:]
	return s.Getter.Get(ctx, c)
}

// sample is a tree with each kind of node; dfs is its depth-first order.
func sample(t *testing.T) (b *dagtest.Builder, root dagtest.Node, dfs []jobspec.CID) {
	b = dagtest.New(t)
	hello, world := b.Raw([]byte("hello ")), b.Raw([]byte("world"))
	mid := b.File(hello, world)
	file := b.File(mid, hello)
	link := b.Symlink("../a/file")
	a := b.Dir(hello.As("copy"), file.As("file"))
	root = b.Dir(a.As("a"), b.Dir(link.As("link")).As("b"), hello.As("z"))
	dfs = []jobspec.CID{root.CID, a.CID, hello.CID, file.CID, mid.CID, hello.CID, world.CID, hello.CID,
		b.Dir(link.As("link")).CID, link.CID, hello.CID}
	return b, root, dfs
}

func TestRead(t *testing.T) {
	b, root, dfs := sample(t)
	s := &stream{Getter: b, next: dfs}
	var got []string
	err := tree.Read(context.Background(), s, root.CID, ipfs.Budget{}, func(e tree.Entry, c *tree.Content) error {
		line := fmt.Sprintf("%s %q %q %d %s", e.Kind, e.Path, e.Name, e.Size, e.Target)
		if c != nil {
			var buf bytes.Buffer
			n, err := c.Copy(context.Background(), &buf)
			if err != nil || n != e.Size {
				return fmt.Errorf("copied %d bytes: %w", n, err)
			}
			line += buf.String()
		}
		got = append(got, strings.TrimSpace(line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.next) != 0 {
		t.Errorf("%d blocks were not read", len(s.next))
	}
	want := []string{
		`dir "" "" 0`,
		`dir "a" "a" 0`,
		`file "a/copy" "copy" 6 hello`,
		`file "a/file" "file" 17 hello worldhello`,
		`dir "b" "b" 0`,
		`symlink "b/link" "link" 0 ../a/file`,
		`file "z" "z" 6 hello`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read: %s", diff)
	}
}

func TestWalkReadsOneBlockPerEntry(t *testing.T) {
	b, root, _ := sample(t)
	n := 0
	if err := tree.Walk(context.Background(), b, root.CID, ipfs.Budget{}, func(tree.Entry) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	if n != 7 || len(b.Order()) != 7 {
		t.Errorf("Walk visited %d entries and read %d blocks, want 7 and 7", n, len(b.Order()))
	}
}

func TestWalkEnds(t *testing.T) {
	b, root, _ := sample(t)
	ctx := context.Background()
	stop := errors.New("stop")
	if err := tree.Walk(ctx, b, root.CID, ipfs.Budget{}, func(tree.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Walk = %v, want the visitor's error", err)
	}
	var paths []string
	err := tree.Walk(ctx, b, root.CID, ipfs.Budget{}, func(e tree.Entry) error {
		paths = append(paths, e.Path)
		if e.Path == "a" {
			return tree.SkipDir
		}
		return nil
	})
	if want := []string{"", "a", "b", "b/link", "z"}; err != nil || !slices.Equal(paths, want) {
		t.Errorf("Walk with SkipDir = %q, %v, want %q", paths, err, want)
	}
	cause := errors.New("the job was stopped")
	ended, cancel := context.WithCancelCause(ctx)
	cancel(cause)
	if err := tree.Walk(ended, b, root.CID, ipfs.Budget{}, func(tree.Entry) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("Walk = %v, want the cause of the context's end", err)
	}
}

func TestBudget(t *testing.T) {
	b, root, _ := sample(t)
	for _, c := range []struct {
		what   string
		budget ipfs.Budget
		want   jobspec.Kind
	}{
		{"bytes that suffice", ipfs.Budget{Bytes: 29}, ""},
		{"one byte too few", ipfs.Budget{Bytes: 28}, jobspec.KindLimitBytes},
		{"entries that suffice", ipfs.Budget{Entries: 6}, ""},
		{"one entry too few", ipfs.Budget{Entries: 5}, jobspec.KindLimitEntries},
		{"levels that suffice", ipfs.Budget{Levels: 2}, ""},
		{"one level too few", ipfs.Budget{Levels: 1}, jobspec.KindDepth},
		{"blocks that suffice", ipfs.Budget{Blocks: 11}, ""},
		{"one block too few", ipfs.Budget{Blocks: 10}, jobspec.KindLimit},
		{"file depth that suffices", ipfs.Budget{DAGDepth: 2}, ""},
		{"file depth too small", ipfs.Budget{DAGDepth: 1}, jobspec.KindDepth},
	} {
		_, _, err := readAll(b, root.CID, c.budget)
		if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want.Error()) {
			t.Errorf("%s: Read = %v, want %q", c.what, err, c.want)
		}
	}
}

func TestCopy(t *testing.T) {
	b := dagtest.New(t)
	ctx := context.Background()
	file := b.File(b.Raw([]byte("ab")), b.File(b.Raw([]byte("cd")), b.Raw([]byte("e"))))
	var buf bytes.Buffer
	if n, err := tree.Copy(ctx, b, file.CID, &buf, ipfs.Budget{}); n != 5 || err != nil || buf.String() != "abcde" {
		t.Errorf("Copy = %d, %v: %q, want abcde", n, err, &buf)
	}
	if _, err := tree.Copy(ctx, b, file.CID, io.Discard, ipfs.Budget{Bytes: 4}); !errors.Is(err, jobspec.KindLimitBytes.Error()) {
		t.Errorf("Copy within 4 bytes = %v, want E_LIMIT_BYTES", err)
	}
	if _, err := tree.Copy(ctx, b, b.Dir().CID, io.Discard, ipfs.Budget{}); !errors.Is(err, jobspec.KindUnixFS.Error()) {
		t.Errorf("Copy of a directory = %v, want E_UNIXFS", err)
	}
}

func TestErrorNamesThePath(t *testing.T) {
	b := dagtest.New(t)
	leaf := b.Raw([]byte("x"))
	root := b.Dir(b.Dir(leaf.As("gone.txt")).As("dir"))
	b.Lose(leaf.CID)
	_, _, err := readAll(b, root.CID, ipfs.Budget{})
	if !errors.Is(err, jobspec.KindFetchTimeout.Error()) || !strings.Contains(fmt.Sprint(err), `"dir/gone.txt"`) {
		t.Errorf("Read = %v, want E_FETCH_TIMEOUT at dir/gone.txt", err)
	}
}
