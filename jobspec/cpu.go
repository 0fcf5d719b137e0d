package jobspec

import (
	"math"
	"strconv"
	"strings"
)

// CPU is processor time in thousandths of one processor, never negative. In
// JSON and YAML it is a number of processors (1, 0.5) or text ("500m"); in
// dag-cbor an integer. It is written as a number.
type CPU int64

// ParseCPU reads processors with at most three decimals ("2", "0.5"), or
// thousandths ("500m").
func ParseCPU(s string) (CPU, error) {
	bad := KindSpec.Errorf("%q is not a number of processors: say 1, 0.5 or 500m", clip(s))
	if milli, ok := strings.CutSuffix(s, "m"); ok {
		n, err := parseWhole(milli)
		if err != nil {
			return 0, bad
		}
		return cpuInRange(s, n)
	}
	whole, frac, point := strings.Cut(s, ".")
	n, err := parseWhole(whole)
	if err != nil || point && (frac == "" || len(frac) > 3) {
		return 0, bad
	}
	m, err := parseWhole(frac + strings.Repeat("0", 3-len(frac)))
	if err != nil {
		return 0, bad
	}
	return cpuInRange(s, min(n, math.MaxInt64/1000-1)*1000+m)
}

// cpuInRange refuses more than a million processors, so that sums over many
// tasks stay far from overflow.
func cpuInRange(s string, milli int64) (CPU, error) {
	const most = 1_000_000
	if milli > most*1000 {
		return 0, KindSpec.Errorf("%q is over the largest number of processors, %d", clip(s), most)
	}
	return CPU(milli), nil
}

// String returns processors in decimals: "1", "0.5".
func (c CPU) String() string { return strconv.FormatFloat(float64(c)/1000, 'f', -1, 64) }

// MarshalText writes what String returns.
func (c CPU) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what [ParseCPU] reads.
func (c *CPU) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCPU(string(text))
	return err
}

// MarshalJSON writes a number of processors.
func (c CPU) MarshalJSON() ([]byte, error) { return c.MarshalText() }

// UnmarshalJSON reads a number of processors, or text as of [ParseCPU].
func (c *CPU) UnmarshalJSON(data []byte) error {
	text, err := scalarText(data)
	if err != nil {
		return err
	}
	return c.UnmarshalText([]byte(text))
}
