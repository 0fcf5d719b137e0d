package jobspec

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time in nanoseconds, never negative. In JSON and YAML
// it is text as of time.ParseDuration with whole days before it ("15m", "2h",
// "30d", "1d12h"); in dag-cbor an integer.
type Duration int64

const day = 24 * time.Hour

// ParseDuration reads "[<days>d][<time.ParseDuration>]". A number without a
// unit is refused.
func ParseDuration(s string) (Duration, error) {
	bad := KindSpec.Errorf("%q is not a duration: say a number and a unit, such as 90s, 15m, 2h or 30d", clip(s))
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	}
	n, err := parseWhole(days)
	if err != nil {
		return 0, bad
	}
	var d time.Duration
	if rest != "" {
		d, err = time.ParseDuration(rest)
	}
	// ParseDuration takes signs and a bare "0", which we do not.
	if err != nil || strings.ContainsAny(s, "+-") || rest == "0" || s == "" {
		return 0, bad
	}
	if n > (int64(NoLimit)-1-int64(d))/int64(day) || d == time.Duration(NoLimit) {
		return 0, KindSpec.Errorf("%q is over the longest duration of 106751d", clip(s))
	}
	return Duration(n*int64(day) + int64(d)), nil
}

// NoLimit stands for no limit at all, where that may be: "none".
const NoLimit = Duration(math.MaxInt64)

// noLimit is the text of NoLimit.
const noLimit = "none"

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the shortest text that [ParseDuration] reads back: "30d",
// "1d12h", "15m", "0s".
func (d Duration) String() string {
	switch {
	case d < 0:
		return time.Duration(d).String()
	case d == NoLimit:
		return noLimit
	}
	var s string
	if n := d.Std() / day; n > 0 {
		s = strconv.FormatInt(int64(n), 10) + "d"
	}
	rest := d.Std() % day
	if rest == 0 && s != "" {
		return s
	}
	t := rest.String()
	if strings.HasSuffix(t, "m0s") {
		t = strings.TrimSuffix(t, "0s")
	}
	if strings.HasSuffix(t, "h0m") {
		t = strings.TrimSuffix(t, "0m")
	}
	return s + t
}

// MarshalText writes what String returns.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what [ParseDuration] reads, and "none" for [NoLimit].
func (d *Duration) UnmarshalText(text []byte) (err error) {
	if string(text) == noLimit {
		*d = NoLimit
		return nil
	}
	*d, err = ParseDuration(string(text))
	return err
}
