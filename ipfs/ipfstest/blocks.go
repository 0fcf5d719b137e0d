package ipfstest

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

const maxBlock = 2 << 20

var blockTests = []subtest{
	{"a block comes back", func(t *testing.T, s Subject) {
		for _, b := range []block{leaf("hello"), leaf(""), hashed(cid.Raw, multihash.BLAKE3, 32, []byte("x"))} {
			add(t, s.Node, "p", b)
			got, err := s.Node.Get(t.Context(), b.cid)
			if err != nil || !bytes.Equal(got, b.data) {
				t.Errorf("Get(%s) = %q, %v, want %q", b.cid, got, err, b.data)
			}
			if !has(t, s.Node, b) {
				t.Errorf("Has(%s) = false after Add", b.cid)
			}
		}
	}},
	{"C44 a block that nobody has is not waited for", func(t *testing.T, s Subject) {
		b := leaf("absent")
		_, err := s.Node.Get(t.Context(), b.cid)
		wantKind(t, "Get", err, jobspec.KindFetchTimeout)
		if jobspec.AsFailure(err).Hint == "" {
			t.Error("Get of an absent block gives no hint")
		}
		if has(t, s.Node, b) {
			t.Error("Has = true for an absent block")
		}
	}},
	{"C35 bytes that are not the CID's are refused and not stored", func(t *testing.T, s Subject) {
		good := leaf("good")
		bad := block{good.cid, []byte("evil")}
		wantKind(t, "Add", tryAdd(t, s.Node, "p", bad), jobspec.KindBlockHash)
		if has(t, s.Node, bad) {
			t.Error("the block was stored")
		}
		wantPins(t, s.Node, "")
		add(t, s.Node, "p", good) // control: the CID itself is fine
	}},
	{"a stream gives what Get gives", testStream},
	{"C33 C34 untrusted hashes are refused", testUntrustedHashes},
	{"C32 identity CIDs", testIdentity},
	{"block size", func(t *testing.T, s Subject) {
		largest := hashed(cid.Raw, multihash.SHA2_256, -1, make([]byte, maxBlock))
		add(t, s.Node, "largest", largest)
		over := hashed(cid.Raw, multihash.SHA2_256, -1, make([]byte, maxBlock+1))
		wantKind(t, "Add of 2 MiB + 1", tryAdd(t, s.Node, "over", over), jobspec.KindLimitBytes)
	}},
	{"a session reads its own writes", func(t *testing.T, s Subject) {
		b := leaf("own")
		_, err := s.Node.Add(t.Context(), "p", func(w ipfs.Session) (jobspec.CID, error) {
			if err := w.Put(t.Context(), b.cid, b.data); err != nil {
				return b.cid, err
			}
			if err := w.Put(t.Context(), b.cid, b.data); err != nil {
				t.Errorf("second Put: %v", err)
			}
			got, err := w.Get(t.Context(), b.cid)
			if !bytes.Equal(got, b.data) {
				t.Errorf("Get in the session = %q, %v, want %q", got, err, b.data)
			}
			_, err = w.Get(t.Context(), leaf("absent").cid)
			wantKind(t, "Get of an absent block in the session", err, jobspec.KindFetchTimeout)
			return b.cid, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}},
	{"close twice", func(t *testing.T, s Subject) {
		for range 2 {
			if err := s.Node.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}},
}

func testUntrustedHashes(t *testing.T, s Subject) {
	data := []byte("data")
	long, err := multihash.Encode(make([]byte, 200), multihash.SHA2_512)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]block{
		"md5":              hashed(cid.Raw, multihash.MD5, -1, data),
		"murmur3":          hashed(cid.Raw, multihash.MURMUR3X64_64, -1, data),
		"sha1":             hashed(cid.Raw, multihash.SHA1, -1, data),
		"sha2-256 of 4 B":  hashed(cid.Raw, multihash.SHA2_256, 4, data),
		"digest of 200 B":  {jobspec.WrapCID(cid.NewCidV1(cid.Raw, long)), data},
		"sha2-256 of 19 B": hashed(cid.Raw, multihash.SHA2_256, 19, data),
	} {
		wantKind(t, name+": Add", tryAdd(t, s.Node, "p", b), jobspec.KindCIDHash)
		_, err := s.Node.Get(t.Context(), b.cid)
		wantKind(t, name+": Get", err, jobspec.KindCIDHash)
		wantKind(t, name+": Pin", s.Node.Pin(t.Context(), "p", b.cid), jobspec.KindCIDHash)
		// A tree of trusted hashes must not lead to an untrusted one.
		wantKind(t, name+": Add of a parent", tryAdd(t, s.Node, "p", branch(b)), jobspec.KindCIDHash)
	}
	wantPins(t, s.Node, "")
	add(t, s.Node, "p", hashed(cid.Raw, multihash.SHA2_256, 20, data)) // control: the shortest digest
}

func testIdentity(t *testing.T, s Subject) {
	small := hashed(cid.Raw, multihash.IDENTITY, -1, bytes.Repeat([]byte{7}, 128))
	got, err := s.Node.Get(t.Context(), small.cid)
	if err != nil || !bytes.Equal(got, small.data) {
		t.Errorf("Get of an identity CID = %x, %v, want %x", got, err, small.data)
	}
	if !has(t, s.Node, small) {
		t.Error("Has of an identity CID = false")
	}
	add(t, s.Node, "root", small)
	add(t, s.Node, "child", branch(small))
	large := hashed(cid.Raw, multihash.IDENTITY, -1, make([]byte, 129))
	_, err = s.Node.Get(t.Context(), large.cid)
	wantKind(t, "Get of 129 bytes", err, jobspec.KindCIDHash)
	wantKind(t, "Add of 129 bytes", tryAdd(t, s.Node, "p", large), jobspec.KindCIDHash)
	lie := block{small.cid, []byte("other")}
	wantKind(t, "Put of other bytes", tryAdd(t, s.Node, "p", lie), jobspec.KindBlockHash)

	// What hides in an identity CID is part of the DAG.
	absent := leaf("absent")
	node := cborBranch(absent)
	hidden := hashed(cid.DagCBOR, multihash.IDENTITY, -1, node.data)
	wantKind(t, "Add below an identity node", tryAdd(t, s.Node, "p", hidden), jobspec.KindFetchTimeout)
	wantKind(t, "Add of a parent of it", tryAdd(t, s.Node, "p", branch(hidden)), jobspec.KindFetchTimeout)
	add(t, s.Node, "p", hidden, absent) // control
}

func testStream(t *testing.T, s Subject) {
	long, short := leaf("%s", make([]byte, 1000)), leaf("short")
	root := branch(long, short, leaf(""))
	add(t, s.Node, "p", root, long, short, leaf(""))
	stream, done := ipfs.Stream(t.Context(), s.Node, root.cid)
	defer done()
	for _, b := range []block{short, long, root, leaf(""), short, leaf("absent"), long} {
		want, wantErr := s.Node.Get(t.Context(), b.cid)
		got, err := stream.Get(t.Context(), b.cid)
		if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Errorf("Get(%s) of a stream = %q, %v, want %q, %v", b.cid, got, err, want, wantErr)
		}
	}
	_, err := stream.Get(t.Context(), leaf("absent").cid)
	wantKind(t, "Get of a block that nobody has", err, jobspec.KindFetchTimeout)
	_, err = stream.Get(t.Context(), jobspec.CID{})
	wantKind(t, "Get without a CID", err, jobspec.KindCIDHash)
	s.Flip(long.cid)
	_, err = stream.Get(t.Context(), long.cid)
	wantKind(t, "Get of a damaged block", err, jobspec.KindBlockHash)
	got, err := stream.Get(t.Context(), short.cid)
	if err != nil || !bytes.Equal(got, short.data) {
		t.Errorf("Get after a damaged block = %q, %v, want %q", got, err, short.data)
	}
}
