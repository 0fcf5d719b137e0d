package docker_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/executortest"
)

// TestLogFlood writes far more than the engine may keep: R07. The control's
// log has no limit.
func TestLogFlood(t *testing.T) {
	b := newBench(t)
	const flood = 16 << 20
	task := b.task("flood", strconv.Itoa(flood))
	id := b.start(t, task)
	if exit, err := b.ex.Wait(bounded(t), id); err != nil || exit.Code != 0 {
		t.Fatalf("Wait = %+v, %v", exit, err)
	}
	var sink executortest.Sink
	if err := b.ex.Logs(bounded(t), id, &sink); err != nil {
		t.Fatalf("Logs: %v", err)
	}
	out := sink.Out.String()
	if len(out) == 0 || len(out) > int(task.LogSize) {
		t.Errorf("R07: %d bytes of output are kept, want some and at most %d", len(out), task.LogSize)
	}
	if want := fmt.Sprintf("%0127d\n", flood/128-1); !strings.HasSuffix(out, want) {
		t.Errorf("R07: the last line is not kept")
	}
	if size := b.logFiles(t, id); size > int64(task.LogSize)*5/4 {
		t.Errorf("R07: the engine keeps %d bytes of logs, want about %d", size, task.LogSize)
	}
	if control := b.control(t, nil, "flood", strconv.Itoa(flood)); len(control) < flood {
		t.Errorf("R07 control: %d bytes are kept without a limit, want %d", len(control), flood)
	}
}

// TestLogFloodFollowed follows the flood: what was dropped before it was read
// is missing, what is there is in order and the end is there.
func TestLogFloodFollowed(t *testing.T) {
	b := newBench(t)
	const flood = 8 << 20
	id := b.start(t, b.task("flood", strconv.Itoa(flood)))
	var sink executortest.Sink
	if err := b.ex.Logs(bounded(t), id, &sink); err != nil {
		t.Fatalf("Logs: %v", err)
	}
	last := -1
	for line := range strings.Lines(sink.Out.String()) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || n <= last {
			t.Fatalf("R07: line %d (%d bytes) follows line %d: %v", n, len(line), last, err)
		}
		last = n
	}
	if last != flood/128-1 {
		t.Errorf("R07: the last line is %d, want %d", last, flood/128-1)
	}
}

// logFiles returns the size of what the engine keeps of a container's output.
func (b *bench) logFiles(t *testing.T, id executor.ID) (size int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.engineRoot(t), "containers", string(id), "local-logs", "*"))
	if err != nil || len(files) == 0 {
		t.Skipf("needs to read the engine's files: %v", err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// TestR30LogBytes is R30: output is bytes, whatever they are, and lines of any
// length.
func TestR30LogBytes(t *testing.T) {
	b := newBench(t)
	const size = 300_000
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i)
		if i > size/2 && want[i] == '\n' {
			want[i] = 'x'
		}
	}
	task := b.task("binary", strconv.Itoa(size))
	id := b.start(t, task)
	for _, when := range []string{"while it runs", "after its end"} {
		var sink executortest.Sink
		if err := b.ex.Logs(bounded(t), id, &sink); err != nil {
			t.Fatalf("Logs %s: %v", when, err)
		}
		if !bytes.Equal(sink.Out.Bytes(), want) {
			t.Errorf("R30: output read %s has %d bytes and differs from the %d that were written", when, sink.Out.Len(), size)
		}
	}
}
