package wire

// LogLine is the data of one event of GET /v1/jobs/{ref}/logs?format=events:
// some output of one task, cut anywhere.
type LogLine struct {
	Task   int    `json:"task"`
	Stream string `json:"stream"`          // LogStdout or LogStderr
	Text   string `json:"text,omitempty"`  // when it is UTF-8
	Bytes  []byte `json:"bytes,omitempty"` // else, in base64
}

// The streams of a LogLine.
const (
	LogStdout = "stdout"
	LogStderr = "stderr"
)
