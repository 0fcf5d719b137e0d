package domain

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

// Secret is 32 random bytes that no log, error or format shows.
type Secret [32]byte

// NewSecret returns a fresh secret.
func NewSecret() Secret {
	var s Secret
	rand.Read(s[:]) // never fails; it ends the process instead
	return s
}

func secretFrom(b []byte) (s Secret, ok bool) {
	copy(s[:], b)
	return s, len(b) == len(s) && s != Secret{}
}

const redacted = "[secret]"

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder, so that no JSON has a secret by accident.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// hash is what the signed list tells about the secret of its generation.
func (s Secret) hash() []byte {
	sum := sha256.Sum256(append([]byte("ipdc/secret/v1\x00"), s[:]...))
	return sum[:]
}

// psk derives the pre-shared key of one generation of one domain.
func (s Secret) psk(id ID, generation uint64) Secret {
	return s.derive("ipdc/psk/v1", string(id)+" "+strconv.FormatUint(generation, 10))
}

// kuboPSK derives the pre-shared key of the Kubos in one generation of a domain.
func (s Secret) kuboPSK(id ID, generation uint64) Secret {
	return s.derive("ipdc/kubo/v1", string(id)+" "+strconv.FormatUint(generation, 10))
}

// doorPSK derives the pre-shared key of a domain's doors.
func (s Secret) doorPSK(id ID) Secret { return s.derive("ipdc/door/v1", string(id)) }

func (s Secret) derive(salt, info string) (out Secret) {
	b, err := hkdf.Key(sha256.New, s[:], []byte(salt), info, len(out))
	if err != nil {
		panic(err) // the length is a constant
	}
	copy(out[:], b)
	return out
}
