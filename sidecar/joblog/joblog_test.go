package joblog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/joblog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, path string, task uint32, limit int64) *joblog.Writer {
	t.Helper()
	w, err := joblog.Create(path, task, limit)
	must(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "attempt.log") }

// chunk is a frame as a reader gets it.
type chunk struct {
	Task   uint32
	Stream jobspec.LogStream
	Text   string
}

// parse reads frames and joins neighbours of one stream.
func parse(t testing.TB, b []byte) (chunks []chunk) {
	t.Helper()
	r := bytes.NewReader(b)
	for {
		h, err := jobspec.ReadLogHeader(r)
		if err == io.EOF {
			return chunks
		}
		must(t, err)
		data := make([]byte, h.Len)
		_, err = io.ReadFull(r, data)
		must(t, err)
		if n := len(chunks); n > 0 && chunks[n-1].Task == h.Task && chunks[n-1].Stream == h.Stream {
			chunks[n-1].Text += string(data)
			continue
		}
		chunks = append(chunks, chunk{h.Task, h.Stream, string(data)})
	}
}

// frames writes what Read yields of the logs at paths, one after the other.
func frames(ctx context.Context, w io.Writer, follow bool, paths ...string) error {
	for _, path := range paths {
		err := joblog.Read(ctx, path, 0, follow, func(_ int64, h jobspec.LogHeader, data []byte) error {
			_, err := w.Write(append(h.Append(nil), data...))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func read(t testing.TB, paths ...string) []chunk {
	t.Helper()
	var b bytes.Buffer
	must(t, frames(context.Background(), &b, false, paths...))
	return parse(t, b.Bytes())
}

func TestStreamsInOrder(t *testing.T) {
	path := newPath(t)
	w := create(t, path, 7, 1<<20)
	for _, s := range []struct {
		w io.Writer
		s string
	}{{w.Stdout(), "one"}, {w.Stdout(), " line\n"}, {w.Stderr(), "err\x00\xff\n"}, {w.Stdout(), "two\n"}} {
		_, err := io.WriteString(s.w, s.s)
		must(t, err)
	}
	want := []chunk{{7, 1, "one line\n"}, {7, 2, "err\x00\xff\n"}, {7, 1, "two\n"}}
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("while it is open (-want +got):\n%s", diff)
	}
	kept, dropped, err := w.Close()
	if kept != 19 || dropped != 0 || err != nil {
		t.Errorf("Close() = %d, %d, %v, want 19, 0, nil", kept, dropped, err)
	}
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("after Close (-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode = %v, want 0600", info.Mode())
	}
	if _, err := w.Stdout().Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close = %v, want os.ErrClosed", err)
	}
}

var gapText = regexp.MustCompile(`\n\.\.\. (\d+) bytes left out \.\.\.\n`)

// size returns the bytes that the log at path takes on disk.
func size(t testing.TB, path string) (n int64) {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	must(t, err)
	for _, f := range files {
		info, err := os.Stat(f)
		must(t, err)
		n += info.Size()
	}
	return n
}

func TestR07FloodIsBounded(t *testing.T) {
	const limit, total = 1 << 20, 96 << 20
	path := newPath(t)
	w := create(t, path, 0, limit)
	out := w.Stdout()
	block := make([]byte, 100_000) // one line without an end
	for i := range block {
		block[i] = 'a' + byte(i%26)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var sent int64
	for sent < total {
		n, err := out.Write(block)
		must(t, err)
		sent += int64(n)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("allocated %d bytes for %d bytes of output", got, sent)
	}
	kept, dropped, err := w.Close()
	must(t, err)
	if kept+dropped != sent || kept < limit*3/4 {
		t.Errorf("Close() = %d kept, %d dropped of %d", kept, dropped, sent)
	}
	if n := size(t, path); n > limit {
		t.Errorf("the log takes %d bytes, want at most %d", n, limit)
	}
	chunks := read(t, path)
	if len(chunks) != 3 {
		t.Fatalf("%d chunks, want head, gap, tail", len(chunks))
	}
	head, tail := chunks[0].Text, chunks[2].Text
	whole := func(from, n int) string { return strings.Repeat(string(block), n/len(block)+2)[from%len(block):][:n] }
	if head != whole(0, len(head)) || tail != whole(int(sent)-len(tail), len(tail)) {
		t.Error("the kept parts are not the beginning and the end of the output")
	}
	gap := gapText.FindStringSubmatch(chunks[1].Text)
	if gap == nil || gap[1] != strconv.FormatInt(dropped, 10) || int64(len(head)+len(tail)) != kept {
		t.Errorf("gap %q between %d and %d bytes, want %d left out", chunks[1].Text, len(head), len(tail), dropped)
	}
}

func TestR07TinyWritesTakeOneFrame(t *testing.T) {
	path := newPath(t)
	w := create(t, path, 0, 1<<20)
	for range 500_000 {
		_, err := w.Stdout().Write([]byte{'x'})
		must(t, err)
	}
	if kept, dropped, err := w.Close(); kept != 500_000 || dropped != 0 || err != nil {
		t.Errorf("Close() = %d, %d, %v: frames of one byte take the room of output", kept, dropped, err)
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	var logs []*joblog.Writer
	for task := range 3 {
		paths = append(paths, filepath.Join(dir, strconv.Itoa(task)))
		logs = append(logs, create(t, paths[task], uint32(task), 1<<20))
	}
	pr, pw := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { pw.CloseWithError(frames(t.Context(), pw, true, paths...)) })
	want := make([]string, len(logs))
	for task, w := range logs {
		for i := range 300 {
			want[task] += fmt.Sprintln(task, i)
		}
		wg.Go(func() {
			for i := range 300 {
				fmt.Fprintln(w.Stdout(), task, i)
			}
			w.Close()
		})
	}
	got, err := io.ReadAll(pr)
	must(t, err)
	wg.Wait()
	for task, c := range parse(t, got) {
		if c.Task != uint32(task) || c.Text != want[task] {
			t.Errorf("chunk %d is of task %d with %d bytes, want all %d bytes of its own", task, c.Task, len(c.Text), len(want[task]))
		}
	}
}

// What is written is seen without waiting for more or for the end.
func TestFollowSeesEachWrite(t *testing.T) {
	path := newPath(t)
	w := create(t, path, 0, 1<<20)
	pr, pw := io.Pipe()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- frames(ctx, pw, true, path) }()
	for i := range 50 {
		text := fmt.Sprintf("line %d\n", i)
		_, err := io.WriteString(w.Stderr(), text)
		must(t, err)
		frame := make([]byte, jobspec.LogHeaderSize+len(text))
		_, err = io.ReadFull(pr, frame)
		must(t, err)
		if got := string(frame[jobspec.LogHeaderSize:]); got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	}
	cause := errors.New("reader went away")
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("Copy = %v, want the cause of its context", err)
	}
}

// A follower that is slower than the program gets marked gaps, nothing else.
func TestSlowFollower(t *testing.T) {
	const lines = 40_000
	path := newPath(t)
	w := create(t, path, 0, joblog.MinLimit)
	pr, pw := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { pw.CloseWithError(frames(t.Context(), pw, true, path)) })
	var sent int
	for i := range lines {
		n, err := fmt.Fprintln(w.Stdout(), i)
		must(t, err)
		sent += n
	}
	_, dropped, err := w.Close()
	must(t, err)
	got, err := io.ReadAll(pr)
	must(t, err)
	wg.Wait()
	if dropped == 0 {
		t.Fatal("nothing was dropped: the test is too small")
	}
	if n := account(t, parse(t, got)); n != int64(sent) {
		t.Errorf("output and gaps make %d bytes, want %d", n, sent)
	}
}

// account adds up stdout and the gaps.
func account(t testing.TB, chunks []chunk) (n int64) {
	t.Helper()
	for _, c := range chunks {
		if c.Stream == jobspec.LogStdout {
			n += int64(len(c.Text))
			continue
		}
		for _, g := range gapText.FindAllStringSubmatch(c.Text, -1) {
			left, err := strconv.ParseInt(g[1], 10, 64)
			must(t, err)
			n += left
		}
	}
	return n
}

func TestCreateReplaces(t *testing.T) {
	path := newPath(t)
	w := create(t, path, 0, joblog.MinLimit)
	_, err := w.Stdout().Write(bytes.Repeat([]byte("old"), 5000))
	must(t, err)
	again := create(t, path, 0, joblog.MinLimit) // the engine plays the output again
	_, err = io.WriteString(again.Stdout(), "new")
	must(t, err)
	w.Close() // of the process before; it must not end the new one
	if diff := cmp.Diff([]chunk{{0, 1, "new"}}, read(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDamagedFiles(t *testing.T) {
	frame := string(jobspec.LogHeader{Stream: 1, Len: 4}.Append(nil))
	for name, b := range map[string]string{
		"half header": frame + "good" + frame[:2],
		"half frame":  frame + "good" + frame + "b",
		"bad stream":  frame + "good" + strings.Repeat("\x09", 20),
		"length bomb": frame + "good" + "\x01\x00\x00\x00\x00\xff\xff\xff\xff",
		"undamaged":   frame + "good",
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			must(t, os.WriteFile(path, []byte(b), 0o600))
			must(t, os.WriteFile(path+fmt.Sprintf(".%020d", 10), []byte(frame+"tail"), 0o600))
			want := []chunk{{0, 1, "good"}, {0, 2, "\n... 6 bytes left out ...\n"}, {0, 1, "tail"}}
			if diff := cmp.Diff(want, read(t, path)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissingLogIsEmpty(t *testing.T) {
	if got := read(t, newPath(t), filepath.Join(t.TempDir(), "no", "such")); len(got) != 0 {
		t.Errorf("Copy gives %v", got)
	}
}

// Whatever is written, what is read is its beginning and its end, the gap is
// right, and the files stay in the bound.
func TestRapidBound(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(dir, "log")
		limit := rapid.Int64Range(joblog.MinLimit, 8<<10).Draw(rt, "limit")
		w := create(t, path, 1, limit)
		var all []byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 3000), 0, 20).Draw(rt, "writes") {
			p := make([]byte, n)
			for i := range p {
				p[i] = byte('!' + (len(all)+i)%89)
			}
			_, err := w.Stdout().Write(p)
			must(t, err)
			all = append(all, p...)
			if rapid.Bool().Draw(rt, "look") && account(t, read(t, path)) != int64(len(all)) {
				rt.Fatalf("a reader misses something after %d bytes", len(all))
			}
			if n := size(t, path); n > limit {
				rt.Fatalf("%d bytes on disk, limit %d", n, limit)
			}
		}
		_, dropped, err := w.Close()
		must(t, err)
		var head, tail string
		for i, c := range read(t, path) {
			if i == 0 {
				head = c.Text
			} else if c.Stream == jobspec.LogStdout {
				tail = c.Text
			}
		}
		if !strings.HasPrefix(string(all), head) || !strings.HasSuffix(string(all), tail) || len(head)+len(tail)+int(dropped) != len(all) {
			rt.Fatalf("head of %d, tail of %d, dropped %d do not fit %d bytes", len(head), len(tail), dropped, len(all))
		}
	})
}
