package jobspec

// Bytes is a size in bytes. In JSON and YAML it is a number of bytes or text
// with a unit ("512MiB", "1GB"); in dag-cbor an integer.
type Bytes int64

// CPU is processor time in thousandths of one processor. In JSON and YAML it
// is a number of processors (1, 0.5) or text ("500m"); in dag-cbor an integer.
type CPU int64

// Duration is a span of time in nanoseconds. In JSON and YAML it is text as of
// time.ParseDuration plus "d" for 24 h; in dag-cbor an integer.
type Duration int64

// Binary units of [Bytes].
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
)
