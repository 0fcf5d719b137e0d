package dag

import (
	"github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
)

// MaxBlock is the largest block that is stored or read, in bytes.
const MaxBlock = ipfs.MaxBlock

// MaxIdentity is the longest identity CID's digest, in bytes.
const MaxIdentity = ipfs.MaxIdentity

// Profile returns the import profile of every CID made here: unixfs-v1-2025 of
// IPIP-499 (CIDv1, sha2-256, raw leaves, 1 MiB chunks, 1024 links per file
// node, HAMT of width 256 above a 256 KiB directory block). It is handed to
// each call; its ApplyGlobals is never called, as boxo reads those globals
// without synchronisation.
func Profile() io.UnixFSProfile { return io.UnixFS_v1_2025 }

// CidBuilder returns the builder of dag-pb CIDs of the profile.
func CidBuilder() cid.Builder { return Profile().CidBuilder() }
