package executortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/executor"
)

// manyLines is a number of lines that fills several buffers of any pipe.
const manyLines = 20000

func wantLines(t *testing.T, got string) {
	t.Helper()
	var want strings.Builder
	want.WriteString("first\n")
	for i := range manyLines {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	if got != want.String() {
		t.Errorf("output has %d bytes, want %d", len(got), want.Len())
	}
}

func linesTask(b *bench, env ...string) executor.Task {
	return b.task("a", append(env, "DUMMY_STDOUT=first\n", "DUMMY_STDERR=tëst error",
		fmt.Sprintf("DUMMY_LINES=%d", manyLines))...)
}

func testLogs(t *testing.T, b *bench) {
	id := b.start(t, linesTask(b))
	b.wait(t, id)
	for range 2 {
		sink := b.logs(t, id)
		wantLines(t, sink.Out.String())
		if got, want := sink.Err.String(), "tëst error"; got != want {
			t.Errorf("stderr = %q, want %q", got, want)
		}
	}
}

func testLogsFollow(t *testing.T, b *bench) {
	id := b.start(t, linesTask(b, "DUMMY_SLEEP=500ms"))
	sink := b.logs(t, id)
	wantLines(t, sink.Out.String())
	if b.list(t, b.prefix)["a"].Running {
		t.Error("Logs returned before the end of the program")
	}
}

// fullSink refuses everything.
type fullSink struct{}

var errFull = errors.New("the sink is full")

func (fullSink) Write([]byte) (int, error) { return 0, errFull }
func (s fullSink) Stdout() io.Writer       { return s }
func (s fullSink) Stderr() io.Writer       { return s }

func testLogsSink(t *testing.T, b *bench) {
	id := b.start(t, b.task("a", "DUMMY_STDOUT=x\n", "DUMMY_SLEEP=1h"))
	if err := b.ex.Logs(bounded(t), id, fullSink{}); !errors.Is(err, errFull) {
		t.Errorf("Logs into a full sink = %v, want its error", err)
	}
}

// awaitOutput blocks until the program wrote text.
func awaitOutput(t *testing.T, b *bench, id executor.ID, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	sink := &watchSink{text: text, found: cancel}
	if err := b.ex.Logs(ctx, id, sink); sink.seen == 0 {
		t.Fatalf("Logs ended without %q: %v", text, err)
	}
}

// watchSink calls found once its text came by.
type watchSink struct {
	Sink
	text  string
	found context.CancelFunc
	seen  int
}

func (s *watchSink) Stdout() io.Writer { return s }

func (s *watchSink) Write(b []byte) (int, error) {
	s.Out.Write(b)
	if strings.Contains(s.Out.String(), s.text) {
		s.seen++
		s.found()
	}
	return len(b), nil
}
