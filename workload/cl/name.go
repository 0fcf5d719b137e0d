package cl

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Lengths of a name's parts.
const (
	maxSlug  = 60 // bytes
	hashSize = 5  // bytes, twice as many digits
)

// names are the names that lines have so far, with how many lines have each.
type names map[string]int

func (n names) of(text []byte) string {
	sum := sha256.Sum256(text)
	name := hex.EncodeToString(sum[:hashSize])
	if s := slug(text); s != "" {
		name = s + "-" + name
	}
	n[name]++
	if count := n[name]; count > 1 {
		// No other name is the same: what is behind its last - has ten digits.
		return fmt.Sprintf("%s-%d", name, count)
	}
	return name
}

// slug is what of a line can be seen in a file name everywhere: letters, digits
// and dots of ASCII, all else as one -.
func slug(text []byte) string {
	for _, scheme := range []string{"https://", "http://"} {
		text = bytes.TrimPrefix(text, []byte(scheme))
	}
	var b strings.Builder
	gap := false
	for _, c := range text {
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_'
		if !plain || c == '.' && b.Len() == 0 {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('-')
		}
		gap = false
		b.WriteByte(c)
		if b.Len() >= maxSlug {
			break
		}
	}
	return strings.TrimRight(b.String(), ".-")
}
