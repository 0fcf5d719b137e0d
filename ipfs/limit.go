package ipfs

// Bounds of what is read from anybody. They are no settings: a block or a
// header above them is refused everywhere, so that no node makes a CID that
// another one cannot read.
const (
	// MaxBlock is the largest block that is stored or read, in bytes: twice the
	// chunks of the import profile, and what bitswap carries.
	MaxBlock = 2 << 20
	// MaxIdentity is the longest identity CID's digest, in bytes.
	MaxIdentity = 128
	// MaxFanout is the widest HAMT that is read; the import profile's is 256.
	MaxFanout = 1024
	// MaxCARHeader is the largest header of a CAR, in bytes.
	MaxCARHeader = 1 << 20
)
