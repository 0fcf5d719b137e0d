package pack_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/chacha20"

	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
)

const mib = 1 << 20

// The vectors are those by which Kubo and the JavaScript implementation check
// IPIP-499 (test/cli/cid_profiles_test.go of ipfs/kubo).
func TestFileIPIP499(t *testing.T) {
	for _, tc := range []struct {
		name, seed string // seed of the content, "" for hello world
		size       int64
		want       string
	}{
		{"hello world", "", 11, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"},
		{"one chunk", "chunk-v1-seed", mib, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"},
		{"one chunk and a byte", "chunk-v1-seed", mib + 1, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"},
		{"1024 chunks", "v1-2025-seed", 1024 * mib, "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm"},
		{"1024 chunks and a byte", "v1-2025-seed", 1024*mib + 1, "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.size > 2*mib && testing.Short() {
				t.Skip("hashes 1 GiB")
			}
			t.Parallel()
			var r io.Reader = bytes.NewReader([]byte("hello world"))
			if tc.seed != "" {
				r = io.LimitReader(newKeystream(t, tc.seed), tc.size)
			}
			c, n, err := pack.File(t.Context(), dropLeaves{ipfstest.NewMemory()}, r)
			if err != nil || c.String() != tc.want || n != tc.size {
				t.Errorf("File = %s, %d, %v, want %s, %d", c, n, err, tc.want, tc.size)
			}
		})
	}
}

func TestTreeIPIP499(t *testing.T) {
	const empty = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
	if res := mustTree(t, t.TempDir(), pack.Options{}); res.CID.String() != empty || res.Entries != 0 {
		t.Errorf("Tree of an empty directory = %+v, want %s", res, empty)
	}
	for _, tc := range []struct {
		name    string
		lastLen int
		want    string
	}{
		{"largest plain directory", 21, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"},
		{"smallest HAMT", 22, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range seededNames(t, "hamt-unixfs-v1-2025", 4766, 11, tc.lastLen) {
				write(t, filepath.Join(dir, name), "x")
			}
			res := mustTree(t, dir, pack.Options{})
			if res.CID.String() != tc.want || res.Entries != 4766 || res.Bytes != 4766 {
				t.Errorf("Tree = %+v, want %s", res, tc.want)
			}
		})
	}
}

// TestFileLikeBoxo compares with boxo's own chunker and hashing at sizes where
// ours could go wrong.
func TestFileLikeBoxo(t *testing.T) {
	for _, size := range []int64{0, 1, mib - 1, mib, mib + 1, 2 * mib, 5*mib - 1, 5 * mib, 33*mib + 7} {
		mem, ref := ipfstest.NewMemory(), ipfstest.NewMemory()
		c, n, err := pack.File(t.Context(), mem, io.LimitReader(newKeystream(t, "x"), size))
		if err != nil || n != size {
			t.Fatalf("File of %d bytes = %d, %v", size, n, err)
		}
		p := helpers.DagBuilderParams{Dagserv: dag.Service(ref), Maxlinks: 1024, RawLeaves: true, CidBuilder: dag.CidBuilder()}
		h, err := p.New(chunk.NewSizeSplitter(io.LimitReader(newKeystream(t, "x"), size), mib))
		if err != nil {
			t.Fatal(err)
		}
		nd, err := balanced.Layout(h)
		if err != nil {
			t.Fatal(err)
		}
		if c.Cid() != nd.Cid() || mem.Len() != ref.Len() {
			t.Errorf("File of %d bytes = %s in %d blocks, boxo has %s in %d", size, c, mem.Len(), nd.Cid(), ref.Len())
		}
	}
}

// newKeystream returns the bytes that a seed stands for in those tests.
func newKeystream(t testing.TB, seed string) io.Reader {
	t.Helper()
	key := sha256.Sum256([]byte(seed))
	c, err := chacha20.NewUnauthenticatedCipher(key[:], make([]byte, chacha20.NonceSize))
	if err != nil {
		t.Fatal(err)
	}
	return keystream{c}
}

type keystream struct{ c *chacha20.Cipher }

func (k keystream) Read(p []byte) (int, error) {
	clear(p)
	k.c.XORKeyStream(p, p)
	return len(p), nil
}

func seededNames(t *testing.T, seed string, count, length, lastLength int) (names []string) {
	t.Helper()
	const alphabet = "abcdefghijklmnopqrstuvwxyz01234567890-_"
	r := newKeystream(t, seed)
	for i := range count {
		if i == count-1 {
			length = lastLength
		}
		name := make([]byte, length)
		if _, err := r.Read(name); err != nil {
			t.Fatal(err)
		}
		for j, b := range name {
			name[j] = alphabet[int(b)%len(alphabet)]
		}
		names = append(names, string(name))
	}
	return names
}

func mustTree(t *testing.T, path string, o pack.Options) pack.Result {
	t.Helper()
	res, err := pack.Tree(t.Context(), ipfstest.NewMemory(), path, o)
	if err != nil {
		t.Fatalf("Tree(%s): %v", path, err)
	}
	return res
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(fmt.Errorf("write test file: %w", err))
	}
}
