// Package identity holds a node's Ed25519 key and checks what others signed.
// A node's name is its libp2p peer id, which contains the public key, so that
// a signature is checked with the name alone. It imports no libp2p.
//
//	key, err := identity.LoadOrCreate(filepath.Join(dir, "identity.key"))
//	sig := key.Sign("ipdc/receipt/v1", msg)
//	err = identity.Verify(key.ID(), "ipdc/receipt/v1", msg, sig)
//
// Invariants: a key file is private (0600) or refused; a key is never
// replaced; a signature made for one purpose never holds for another.
package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mr-tron/base58"

	"github.com/ipdc/ipdc/internal/durable"
)

// ID is a peer id: base58btc of the identity multihash of the protobuf-encoded
// public key, as libp2p writes it ("12D3KooW...").
// Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
type ID string

// prefix is multihash identity, 36 bytes; protobuf key type Ed25519, 32 bytes.
var prefix = []byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}

// String returns the id.
func (id ID) String() string { return string(id) }

// Short returns the last 8 characters in a form fit for names: enough to tell
// the nodes of one machine apart.
func (id ID) Short() string {
	s := string(id)
	if len(s) > 8 {
		s = s[len(s)-8:]
	}
	return s
}

// ParseID reads a peer id and checks that it holds an Ed25519 key.
func ParseID(s string) (ID, error) {
	if _, err := ID(s).publicKey(); err != nil {
		return "", err
	}
	return ID(s), nil
}

func (id ID) publicKey() (ed25519.PublicKey, error) {
	b, err := base58.Decode(string(id))
	if err != nil || len(b) != len(prefix)+ed25519.PublicKeySize || !bytes.HasPrefix(b, prefix) {
		return nil, fmt.Errorf("%q is not a peer id with an Ed25519 key", string(id))
	}
	return ed25519.PublicKey(b[len(prefix):]), nil
}

// Key is a private key.
type Key struct{ priv ed25519.PrivateKey }

// Generate returns a fresh key.
func Generate() (Key, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	return Key{priv}, err
}

// ID returns the peer id of k.
func (k Key) ID() ID {
	pub := k.priv.Public().(ed25519.PublicKey)
	return ID(base58.Encode(append(bytes.Clone(prefix), pub...)))
}

// Sign signs msg for one purpose, such as "ipdc/receipt/v1".
func (k Key) Sign(purpose string, msg []byte) []byte {
	return ed25519.Sign(k.priv, bound(purpose, msg))
}

// PrivateKey returns the key itself, for transports that sign handshakes of
// their own. What is meant for one purpose is signed by Sign.
func (k Key) PrivateKey() ed25519.PrivateKey { return bytes.Clone(k.priv) }

// ErrSignature says that a signature does not hold.
var ErrSignature = errors.New("signature does not hold")

// Verify checks a signature that the node id made for purpose. The error is
// ErrSignature, or says that id is malformed.
func Verify(id ID, purpose string, msg, sig []byte) error {
	pub, err := id.publicKey()
	if err != nil {
		return err
	}
	if len(sig) != ed25519.SignatureSize || !ed25519.Verify(pub, bound(purpose, msg), sig) {
		return ErrSignature
	}
	return nil
}

func bound(purpose string, msg []byte) []byte {
	b := append([]byte(purpose), 0)
	return append(b, msg...)
}

const pemType = "IPDC ED25519 SEED"

// LoadOrCreate reads the key in file, or makes one there when the file does
// not exist. The new file is durable before LoadOrCreate returns. A file that
// others may read, or that holds no key, is refused and left as it is.
func LoadOrCreate(file string) (Key, error) {
	key, err := Load(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := create(file); err != nil && !errors.Is(err, fs.ErrExist) {
		return Key{}, fmt.Errorf("create identity: %w", err)
	}
	return Load(file) // of whoever was first
}

// Load reads the key in file. It wraps fs.ErrNotExist when there is none, and
// refuses a file that others may read or that holds no key.
func Load(file string) (Key, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Key{}, fmt.Errorf("read identity: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Key{}, fmt.Errorf("identity %s may be read by others (mode %04o): chmod 600 it", file, info.Mode().Perm())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Key{}, fmt.Errorf("read identity: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemType || len(block.Bytes) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("identity %s is damaged: restore it from a backup; a new one would be another node", file)
	}
	return Key{ed25519.NewKeyFromSeed(block.Bytes)}, nil
}

// create writes a fresh key to file. The error is fs.ErrExist when file is
// there.
func create(file string) error {
	k, err := Generate()
	if err != nil {
		return err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: k.priv.Seed()})
	return durable.CreateFile(file, b, 0o600)
}
