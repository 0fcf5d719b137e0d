package identity_test

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/mr-tron/base58"

	"github.com/ipdc/ipdc/identity"
)

func generate(t *testing.T) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The name of a key is the one that libp2p gives it.
// Source of the key: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
func TestIDIsPeerID(t *testing.T) {
	const specKey = "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
	raw, err := hex.DecodeString(specKey)
	if err != nil {
		t.Fatal(err)
	}
	seed := raw[4 : 4+32]
	file := filepath.Join(t.TempDir(), "key")
	writeSeed(t, file, seed, 0o600)
	key, err := identity.LoadOrCreate(file)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := crypto.UnmarshalPrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	if got := key.ID().String(); got != id.String() {
		t.Errorf("ID = %s, libp2p says %s", got, id)
	}
	if got := key.ID().Short(); got != id.String()[len(id.String())-8:] {
		t.Errorf("Short = %s, want the end of %s", got, id)
	}
}

func writeSeed(t *testing.T, file string, seed []byte, mode os.FileMode) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "IPDC ED25519 SEED", Bytes: seed})
	if err := os.WriteFile(file, text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

func TestSignVerify(t *testing.T) {
	key, other := generate(t), generate(t)
	msg := []byte("message")
	sig := key.Sign("ipdc/receipt/v1", msg)
	if err := identity.Verify(key.ID(), "ipdc/receipt/v1", msg, sig); err != nil {
		t.Fatalf("Verify = %v, want nil", err)
	}
	forged := bytes.Clone(sig)
	forged[0] ^= 1
	for name, err := range map[string]error{
		"another message":   identity.Verify(key.ID(), "ipdc/receipt/v1", []byte("massage"), sig),
		"another purpose":   identity.Verify(key.ID(), "ipdc/envelope/v1", msg, sig),
		"another signer":    identity.Verify(other.ID(), "ipdc/receipt/v1", msg, sig),
		"another signature": identity.Verify(key.ID(), "ipdc/receipt/v1", msg, forged),
		"no signature":      identity.Verify(key.ID(), "ipdc/receipt/v1", msg, nil),
		"half a signature":  identity.Verify(key.ID(), "ipdc/receipt/v1", msg, sig[:32]),
		"moved border":      identity.Verify(key.ID(), "ipdc/receipt/v", append([]byte("1\x00"), msg...), sig),
	} {
		if !errors.Is(err, identity.ErrSignature) {
			t.Errorf("Verify with %s = %v, want ErrSignature", name, err)
		}
	}
	if err := identity.Verify("nobody", "ipdc/receipt/v1", msg, sig); err == nil || errors.Is(err, identity.ErrSignature) {
		t.Errorf("Verify by nobody = %v, want an error about the id", err)
	}
}

func TestParseID(t *testing.T) {
	id := generate(t).ID()
	if got, err := identity.ParseID(id.String()); err != nil || got != id {
		t.Errorf("ParseID(%s) = %s, %v", id, got, err)
	}
	raw, err := base58.Decode(id.String())
	if err != nil {
		t.Fatal(err)
	}
	rsa := bytes.Clone(raw)
	rsa[3] = 0 // key type RSA
	for name, text := range map[string]string{
		"empty": "", "short": id.String()[:20], "not base58": "0" + id.String()[1:], "space": " " + id.String(),
		"another key type": base58.Encode(rsa), "longer": base58.Encode(append(raw, 0)),
		"sha256 peer id": "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
	} {
		if got, err := identity.ParseID(text); err == nil {
			t.Errorf("ParseID of %s = %s, want an error", name, got)
		}
	}
}

func TestLoadOrCreate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "identity.key")
	first, err := identity.LoadOrCreate(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	if again, err := identity.LoadOrCreate(file); err != nil || again.ID() != first.ID() {
		t.Errorf("LoadOrCreate again = %s, %v, want %s", again.ID(), err, first.ID())
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v, want the key only", entries, err)
	}
	if other, err := identity.LoadOrCreate(filepath.Join(dir, "other")); err != nil || other.ID() == first.ID() {
		t.Errorf("another file has the key %s, %v", other.ID(), err)
	}
	if _, err := identity.LoadOrCreate(filepath.Join(dir, "missing", "key")); err == nil {
		t.Error("LoadOrCreate in a missing directory succeeded")
	}
}

// Several processes that start on one new directory become one node.
func TestLoadOrCreateAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "identity.key")
	ids := make([]string, 16)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			key, err := identity.LoadOrCreate(file)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = key.ID().String()
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("ids differ: %v", ids)
		}
	}
}

// What cannot be trusted or read is refused and stays as it is: a new key in
// its place would be another node.
func TestLoadOrCreateRefuses(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	for name, tt := range map[string]struct {
		write func(t *testing.T, file string)
		says  string
	}{
		"group may read": {func(t *testing.T, file string) { writeSeed(t, file, seed, 0o640) }, "chmod 600"},
		"all may read":   {func(t *testing.T, file string) { writeSeed(t, file, seed, 0o604) }, "chmod 600"},
		"short seed":     {func(t *testing.T, file string) { writeSeed(t, file, seed[:31], 0o600) }, "damaged"},
		"empty": {func(t *testing.T, file string) {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "damaged"},
		"another PEM": {func(t *testing.T, file string) {
			text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: seed})
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "identity.key")
			tt.write(t, file)
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if key, err := identity.LoadOrCreate(file); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("LoadOrCreate = %s, %v, want an error that says %q", key.ID(), err, tt.says)
			}
			after, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(before), string(after)); diff != "" {
				t.Errorf("the file changed (-before +after):\n%s", diff)
			}
		})
	}
}
