package tree_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag/dagtest"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// readAll reads every byte below root.
func readAll(g ipfs.Getter, root jobspec.CID, b ipfs.Budget) (entries []tree.Entry, bytes int64, err error) {
	ctx := context.Background()
	err = tree.Read(ctx, g, root, b, func(e tree.Entry, c *tree.Content) error {
		entries = append(entries, e)
		if c == nil {
			return nil
		}
		n, err := c.Copy(ctx, io.Discard)
		bytes += n
		return err
	})
	return entries, bytes, err
}

// hostile is a DAG and the kind of its refusal; "" is a positive control.
type hostile struct {
	name  string
	build func(b *dagtest.Builder) dagtest.Node
	want  jobspec.Kind
}

func runHostile(t *testing.T, cases []hostile, budget ipfs.Budget) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := dagtest.New(t)
			root := c.build(b)
			b.Reset()
			_, _, err := readAll(b, root.CID, budget)
			if c.want == "" && err != nil {
				t.Fatalf("Read = %v, want no error", err)
			}
			if c.want != "" && !refusal.Is(t, err, c.want) {
				t.Fatalf("Read = %v, want %s", err, c.want)
			}
			if n := len(b.Order()); n > 20_000 {
				t.Errorf("%d blocks were read", n)
			}
			if err != nil && len(err.Error()) > 2048 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestHostileNames(t *testing.T) {
	refusal.Produces(t, jobspec.KindName)
	one := func(name string) func(*dagtest.Builder) dagtest.Node {
		return func(b *dagtest.Builder) dagtest.Node { return b.Dir(b.Raw([]byte("x")).As(name)) }
	}
	runHostile(t, []hostile{
		{"control", one("a"), ""},
		{"C01 traversal", one("../../etc/cron.d/x"), jobspec.KindName},
		{"C02 empty", one(""), jobspec.KindName},
		{"C02 dot dot", one(".."), jobspec.KindName},
		{"C03 slash", one("a/b"), jobspec.KindName},
		{"C04 NUL", one("a\x00"), jobspec.KindName},
		{"C05 override", one("a\u202etxt.exe"), jobspec.KindName},
		{"C06 256 bytes", one(strings.Repeat("a", 256)), jobspec.KindName},
		{"C07 invalid UTF-8", one("a\xff"), jobspec.KindName},
		{"C08 duplicate names same CID", func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Raw([]byte("x")).As("a"), b.Raw([]byte("x")).As("a"))
		}, jobspec.KindDupName},
		{"C08 duplicate names other CID, apart", func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Raw([]byte("x")).As("a"), b.Raw([]byte("y")).As("b"), b.Raw([]byte("z")).As("a"))
		}, jobspec.KindDupName},
		{"C08 unsorted names are no duplicates", func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Raw([]byte("x")).As("b"), b.Raw([]byte("y")).As("a"))
		}, ""},
		{"C01 deep inside", func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Dir(b.Dir(b.Raw([]byte("x")).As("../up")).As("c")).As("b"))
		}, jobspec.KindName},
	}, ipfs.Budget{})
}

func TestHostileNodes(t *testing.T) {
	refusal.Produces(t, jobspec.KindSizeMismatch, jobspec.KindUnixFS, jobspec.KindCodec)
	type u = dagtest.UnixFS
	pb := func(u dagtest.UnixFS, parts ...string) func(*dagtest.Builder) dagtest.Node {
		return func(b *dagtest.Builder) dagtest.Node {
			var links []dagtest.Node
			for _, p := range parts {
				links = append(links, b.Raw([]byte(p)))
			}
			return b.PB(u, links...)
		}
	}
	const file, dir, sym = dagtest.TypeFile, dagtest.TypeDirectory, dagtest.TypeSymlink
	runHostile(t, []hostile{
		{"control file", pb(u{Type: file, Filesize: 5, Blocksizes: []uint64{2, 3}}, "ab", "cde"), ""},
		{"control file with inline data", pb(u{Type: file, Data: []byte("x"), Filesize: 3, Blocksizes: []uint64{2}}, "ab"), ""},
		{"C17 mode 04755 is not read", pb(u{Type: file, Mode: 0o4755}), ""},
		{"C19 metadata", pb(u{Type: dagtest.TypeMetadata}), jobspec.KindUnixFS},
		{"C19 unknown type 99", pb(u{Type: 99}), jobspec.KindUnixFS},
		{"C19 data in a directory", pb(u{Type: dir, Data: []byte("x")}), jobspec.KindUnixFS},
		{"C19 no data", func(b *dagtest.Builder) dagtest.Node { return b.Put(cid.DagProtobuf, nil) }, jobspec.KindUnixFS},
		{"C19 not protobuf", func(b *dagtest.Builder) dagtest.Node { return b.Put(cid.DagProtobuf, []byte("hello")) }, jobspec.KindUnixFS},
		{"C19 UnixFS not protobuf", func(b *dagtest.Builder) dagtest.Node {
			return b.Put(cid.DagProtobuf, []byte("\x0a\x05hello"))
		}, jobspec.KindUnixFS},
		{"C19 directory inside a file", func(b *dagtest.Builder) dagtest.Node {
			return b.PB(u{Type: file, Blocksizes: []uint64{0}}, b.Dir())
		}, jobspec.KindUnixFS},
		{"C15 empty target", pb(u{Type: sym}), jobspec.KindSymlink},
		{"C15 target of 1 MiB", pb(u{Type: sym, Data: make([]byte, 1<<20)}), jobspec.KindSymlink},
		{"C15 NUL in target", pb(u{Type: sym, Data: []byte("a\x00b")}), jobspec.KindSymlink},
		{"C28 2^63-1 bytes without blocks", pb(u{Type: file, Filesize: math.MaxInt64}), jobspec.KindSizeMismatch},
		{"C28 2^64-1 bytes in one block", pb(u{Type: file, Filesize: math.MaxUint64, Blocksizes: []uint64{math.MaxUint64}}, "a"), jobspec.KindSizeMismatch},
		{"C28 sizes that overflow", pb(u{Type: file, Filesize: 1, Blocksizes: []uint64{1 << 63, 1<<63 + 1}}, "a", "b"), jobspec.KindSizeMismatch},
		{"C29 one byte too many", pb(u{Type: file, Filesize: 6, Blocksizes: []uint64{2, 4}}, "ab", "cde"), jobspec.KindSizeMismatch},
		{"C29 one byte too few", pb(u{Type: file, Filesize: 4, Blocksizes: []uint64{2, 2}}, "ab", "cde"), jobspec.KindSizeMismatch},
		{"C29 swapped sizes", pb(u{Type: file, Filesize: 5, Blocksizes: []uint64{3, 2}}, "ab", "cde"), jobspec.KindSizeMismatch},
		{"C29 missing size", pb(u{Type: file, Filesize: 2, Blocksizes: []uint64{2}}, "ab", "cde"), jobspec.KindSizeMismatch},
		{"C29 sum is not the file size", pb(u{Type: file, Filesize: 4, Blocksizes: []uint64{2, 3}}, "ab", "cde"), jobspec.KindSizeMismatch},
		{"C30 link size 0 and 2^63", func(b *dagtest.Builder) dagtest.Node {
			x, y := b.Raw([]byte("x")).As("x"), b.Raw([]byte("y")).As("y")
			x.Tsize, y.Tsize = 0, 1<<63
			return b.Dir(x, y)
		}, ""},
		{"C42 dag-cbor", func(b *dagtest.Builder) dagtest.Node { return b.Put(cid.DagCBOR, []byte("\xa0")) }, jobspec.KindCodec},
		{"C42 dag-json in a directory", func(b *dagtest.Builder) dagtest.Node {
			return b.Dir(b.Put(cid.DagJSON, []byte("{}")).As("a"))
		}, jobspec.KindCodec},
		{"C42 a million nested arrays", func(b *dagtest.Builder) dagtest.Node {
			return b.Put(cid.DagCBOR, []byte(strings.Repeat("\x81", 1_000_000)))
		}, jobspec.KindCodec},
	}, ipfs.Budget{})
}

func TestHostileHashes(t *testing.T) {
	refusal.Produces(t, jobspec.KindCIDHash)
	link := func(data string, code uint64, length int) func(*dagtest.Builder) dagtest.Node {
		return func(b *dagtest.Builder) dagtest.Node {
			h, err := multihash.Sum([]byte(data), code, length)
			if err != nil {
				t.Fatal(err)
			}
			return b.Dir(dagtest.Node{Name: "a", CID: jobspec.WrapCID(cid.NewCidV1(cid.Raw, h))})
		}
	}
	runHostile(t, []hostile{
		{"C32 identity of 128 bytes", link(strings.Repeat("x", 128), multihash.IDENTITY, -1), ""},
		{"C32 identity of 129 bytes", link(strings.Repeat("x", 129), multihash.IDENTITY, -1), jobspec.KindCIDHash},
		{"C32 identity of 1 MiB", link(strings.Repeat("x", 1<<20), multihash.IDENTITY, -1), jobspec.KindCIDHash},
		{"C32 identity root", func(*dagtest.Builder) dagtest.Node {
			// A UnixFS file of one byte inside the CID.
			h, err := multihash.Sum([]byte("\x0a\x07\x08\x02\x12\x01x\x18\x01"), multihash.IDENTITY, -1)
			if err != nil {
				t.Fatal(err)
			}
			return dagtest.Node{CID: jobspec.WrapCID(cid.NewCidV1(cid.DagProtobuf, h))}
		}, ""},
		{"C32 identity in identity until it is too long", func(*dagtest.Builder) dagtest.Node {
			block := []byte("\x0a\x04\x08\x02\x18\x00")
			var c cid.Cid
			for range 1000 {
				h, err := multihash.Sum(block, multihash.IDENTITY, -1)
				if err != nil {
					t.Fatal(err)
				}
				c = cid.NewCidV1(cid.DagProtobuf, h)
				if len(block) > 128 {
					break
				}
				link := append([]byte{0x0a, byte(c.ByteLen())}, c.Bytes()...)
				block = append([]byte{0x12, byte(len(link))}, link...)
				block = append(block, "\x0a\x06\x08\x02\x18\x00\x20\x00"...)
			}
			return dagtest.Node{CID: jobspec.WrapCID(c)}
		}, jobspec.KindCIDHash},
		{"C33 md5", link("x", multihash.MD5, -1), jobspec.KindCIDHash},
		{"C33 sha1", link("x", multihash.SHA1, -1), jobspec.KindCIDHash},
		{"C33 murmur3", link("x", multihash.MURMUR3X64_64, -1), jobspec.KindCIDHash},
		{"C34 sha2-256 of 4 bytes", link("x", multihash.SHA2_256, 4), jobspec.KindCIDHash},
		{"missing block", link("x", multihash.SHA2_256, -1), jobspec.KindFetchTimeout},
		{"C35 other bytes", func(b *dagtest.Builder) dagtest.Node {
			leaf := b.Raw([]byte("x"))
			b.Flip(leaf.CID)
			return b.Dir(leaf.As("a"))
		}, jobspec.KindBlockHash},
	}, ipfs.Budget{})
}

// bomb returns levels of 174 links, all to the same child.
func bomb(b *dagtest.Builder, leaf dagtest.Node, levels int, node func(...dagtest.Node) dagtest.Node) dagtest.Node {
	for range levels {
		links := make([]dagtest.Node, 174)
		for i := range links {
			links[i] = leaf.As(fmt.Sprintf("n%03d", i))
		}
		leaf = node(links...)
	}
	return leaf
}

func TestHostileBombs(t *testing.T) {
	refusal.Produces(t, jobspec.KindLimitBytes, jobspec.KindLimitEntries)
	small := ipfs.Budget{Bytes: 1 << 20, Entries: 1000} // 16,016 blocks
	runHostile(t, []hostile{
		{"control: one level", func(b *dagtest.Builder) dagtest.Node {
			return bomb(b, b.Raw([]byte("x")), 1, b.File)
		}, ""},
		{"C24 file bomb", func(b *dagtest.Builder) dagtest.Node {
			return bomb(b, b.Raw(make([]byte, 1024)), 6, b.File)
		}, jobspec.KindLimitBytes},
		{"C24 file bomb that declares little", func(b *dagtest.Builder) dagtest.Node {
			mid := bomb(b, b.Raw(make([]byte, 1024)), 5, b.File)
			return b.PB(dagtest.UnixFS{Type: dagtest.TypeFile, Filesize: 1, Blocksizes: []uint64{1}}, mid)
		}, jobspec.KindSizeMismatch},
		{"C24 file bomb of empty leaves", func(b *dagtest.Builder) dagtest.Node {
			return bomb(b, b.Raw(nil), 6, b.File)
		}, jobspec.KindLimit},
		{"C24 directory bomb", func(b *dagtest.Builder) dagtest.Node {
			return bomb(b, b.Raw(nil), 6, b.Dir)
		}, jobspec.KindLimitEntries},
		{"C31 2 MiB of 1-byte leaves", func(b *dagtest.Builder) dagtest.Node {
			return bomb(b, bomb(b, b.Raw([]byte("x")), 1, b.File), 2, b.File)
		}, jobspec.KindLimitBytes},
	}, small)
	runHostile(t, []hostile{
		{"C31 a file of more leaves than blocks are allowed", func(b *dagtest.Builder) dagtest.Node {
			return bomb(b, b.Raw([]byte("x")), 2, b.File)
		}, jobspec.KindLimit},
	}, ipfs.Budget{Blocks: 1000})
}

// TestBombControl shows that the bomb is one: without a budget the reading
// does not end.
func TestBombControl(t *testing.T) {
	b := dagtest.New(t)
	root := bomb(b, b.Raw(nil), 6, b.File)
	_, _, err := readAll(b, root.CID, ipfs.Budget{Bytes: 1 << 60, Blocks: 1 << 60, Time: 50 * time.Millisecond})
	if !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		t.Fatalf("Read without a block budget = %v, want the end of its time", err)
	}
	if n := len(b.Order()); n < 100 {
		t.Errorf("only %d blocks were read", n)
	}
}

func TestHostileDepth(t *testing.T) {
	refusal.Produces(t, jobspec.KindDepth)
	chain := func(levels int, wrap func(b *dagtest.Builder, n dagtest.Node) dagtest.Node) func(*dagtest.Builder) dagtest.Node {
		return func(b *dagtest.Builder) dagtest.Node {
			n := b.File()
			for range levels {
				n = wrap(b, n)
			}
			return n
		}
	}
	dir := func(b *dagtest.Builder, n dagtest.Node) dagtest.Node { return b.Dir(n.As("d")) }
	file := func(b *dagtest.Builder, n dagtest.Node) dagtest.Node { return b.File(n) }
	runHostile(t, []hostile{
		{"C26 64 directories", chain(64, dir), ""},
		{"C26 65 directories", chain(65, dir), jobspec.KindDepth},
		{"C26 100,000 directories", chain(100_000, dir), jobspec.KindDepth},
		{"C26 32 levels of a file", chain(32, file), ""},
		{"C26 33 levels of a file", chain(33, file), jobspec.KindDepth},
		{"C26 100,000 levels of a file", chain(100_000, file), jobspec.KindDepth},
	}, ipfs.Budget{})
	t.Run("C26 control: without a limit all levels are walked", func(t *testing.T) {
		b := dagtest.New(t)
		root := chain(3000, dir)(b)
		entries, _, err := readAll(b, root.CID, ipfs.Budget{Levels: 1 << 30})
		if err != nil || len(entries) != 3001 {
			t.Errorf("Read = %d entries, %v, want 3001", len(entries), err)
		}
	})
}
