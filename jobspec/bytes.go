package jobspec

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size in bytes, never negative. In JSON and YAML it is a number
// of bytes or text with a unit ("512MiB", "1GB"); in dag-cbor an integer. It
// is written as the shortest text that is exact.
type Bytes int64

// Binary units of [Bytes].
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
)

// byteUnits are tried in this order; on equal length the first one wins.
var byteUnits = []struct {
	name string
	size Bytes
}{
	{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"TiB", GiB << 10}, {"PiB", GiB << 20}, {"EiB", GiB << 30},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"EB", 1e18},
	{"B", 1},
}

// ParseBytes reads a whole number and a unit: none or B, kB, MB, GB, TB (powers
// of 1000), KiB, MiB, GiB, TiB (powers of 1024). Units are read in exactly
// that case, as "512m" and "512mb" mean different things to different tools.
func ParseBytes(s string) (Bytes, error) {
	digits := strings.TrimRight(s, "BEGKMPTik")
	unit := Bytes(1)
	if digits != s {
		var ok bool
		if unit, ok = byteUnit(s[len(digits):]); !ok {
			return 0, KindSpec.Errorf("%q is not a size: the unit is none of B, KiB, MiB, GiB, kB, MB, GB", clip(s))
		}
	}
	n, err := parseWhole(digits)
	if err != nil || n > math.MaxInt64/int64(unit) {
		return 0, KindSpec.Errorf("%q is not a size from 0 to 2^63-1 bytes: say a whole number and a unit, such as 512MiB", clip(s))
	}
	return Bytes(n) * unit, nil
}

func byteUnit(name string) (Bytes, bool) {
	for _, u := range byteUnits {
		if u.name == name {
			return u.size, true
		}
	}
	return 0, false
}

// parseWhole reads decimal digits and nothing else, up to 2^63-1.
func parseWhole(s string) (int64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a whole number", clip(s))
	}
	return strconv.ParseInt(s, 10, 64)
}

// String returns the shortest exact text: "512MiB", "1kB", "0B".
func (b Bytes) String() string {
	best := strconv.FormatInt(int64(b), 10) + "B"
	for _, u := range byteUnits {
		if b == 0 || b%u.size != 0 {
			continue
		}
		if s := strconv.FormatInt(int64(b/u.size), 10) + u.name; len(s) < len(best) {
			best = s
		}
	}
	return best
}

// MarshalText writes what String returns.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads what [ParseBytes] reads.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBytes(string(text))
	return err
}

// UnmarshalJSON reads a whole number of bytes, or text as of [ParseBytes].
func (b *Bytes) UnmarshalJSON(data []byte) error {
	text, err := scalarText(data)
	if err != nil {
		return err
	}
	return b.UnmarshalText([]byte(text))
}

// scalarText returns the text of a JSON string, or the literal of any other
// JSON value, for types that are written both as text and as a number.
func scalarText(data []byte) (string, error) {
	if len(data) == 0 || data[0] != '"' {
		return string(data), nil
	}
	var s string
	err := json.Unmarshal(data, &s)
	return s, err
}

// clip shortens user text that is quoted in a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
