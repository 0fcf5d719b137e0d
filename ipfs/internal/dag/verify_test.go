package dag_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

func sum(t *testing.T, data []byte, code uint64, length int) jobspec.CID {
	t.Helper()
	h, err := multihash.Sum(data, code, length)
	if err != nil {
		t.Fatal(err)
	}
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, h))
}

func TestVerify(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 129)
	sha := sum(t, data, multihash.SHA2_256, -1)
	for _, c := range []struct {
		name string
		cid  jobspec.CID
		data []byte
		want jobspec.Kind
	}{
		{"sha2-256", sha, data, ""},
		{"blake2b-256", sum(t, data, multihash.BLAKE2B_MIN+31, -1), data, ""},
		{"sha2-512 cut to 20 bytes", sum(t, data, multihash.SHA2_512, 20), data, ""},
		{"C35 other bytes", sha, data[1:], jobspec.KindBlockHash},
		{"C33 md5", sum(t, data, multihash.MD5, -1), data, jobspec.KindCIDHash},
		{"C33 murmur3", sum(t, data, multihash.MURMUR3X64_64, -1), data, jobspec.KindCIDHash},
		{"C33 sha1", sum(t, data, multihash.SHA1, -1), data, jobspec.KindCIDHash},
		{"C34 sha2-256 cut to 4 bytes", sum(t, data, multihash.SHA2_256, 4), data, jobspec.KindCIDHash},
		{"C32 identity of 128 bytes", sum(t, data[1:], multihash.IDENTITY, -1), data[1:], ""},
		{"C32 identity of 129 bytes", sum(t, data, multihash.IDENTITY, -1), data, jobspec.KindCIDHash},
		{"C32 identity of 1 MiB", sum(t, make([]byte, 1<<20), multihash.IDENTITY, -1), make([]byte, 1<<20), jobspec.KindCIDHash},
		{"identity of other bytes", sum(t, data[1:], multihash.IDENTITY, -1), data[2:], jobspec.KindBlockHash},
		{"no CID", jobspec.CID{}, data, jobspec.KindCIDHash},
		{"block over 2 MiB", sum(t, make([]byte, dag.MaxBlock+1), multihash.SHA2_256, -1), make([]byte, dag.MaxBlock+1), jobspec.KindLimitBytes},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := dag.Verify(c.cid, c.data)
			if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want.Error()) {
				t.Errorf("Verify = %v, want %q", err, c.want)
			}
			if err != nil && len(err.Error()) > 1024 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestServiceKeepsKinds(t *testing.T) {
	m := ipfstest.NewMemory()
	svc := dag.Service(m)
	c := sum(t, []byte("data"), multihash.SHA2_256, -1)
	if _, err := svc.Get(context.Background(), c.Cid()); !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		t.Errorf("Get of a missing block = %v, want E_FETCH_TIMEOUT", err)
	}
	if err := m.Put(context.Background(), c, []byte("data")); err != nil {
		t.Fatal(err)
	}
	if nd, err := svc.Get(context.Background(), c.Cid()); err != nil || string(nd.RawData()) != "data" {
		t.Errorf("Get = %v, %v", nd, err)
	}
	m.Flip(c)
	for opt := range svc.GetMany(context.Background(), []cid.Cid{c.Cid(), c.Cid()}) {
		if !errors.Is(opt.Err, jobspec.KindBlockHash.Error()) {
			t.Errorf("GetMany of a flipped block = %v, want E_BLOCK_HASH", opt.Err)
		}
	}
	cbor := jobspec.WrapCID(cid.NewCidV1(cid.DagCBOR, c.Cid().Hash()))
	if err := m.Put(context.Background(), cbor, []byte("data")); err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Get(context.Background(), cbor.Cid()); !errors.Is(err, jobspec.KindCodec.Error()) {
		t.Errorf("Get of dag-cbor = %v, want E_CODEC", err)
	}
}
