package guest_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/wire/guest"
)

const (
	itemA   = `{"type":"item","path":"a","outputs":["a"]}` + "\n"
	itemB   = `{"type":"item","path":"b","error":"exit code 3","exit_code":3}` + "\n"
	endLine = `{"type":"end","cpu_ns":12,"max_rss":4096,"exit_code":143,"signal":15}` + "\n"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), guest.Report)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTailGoesOnAndStartsAgain(t *testing.T) {
	path := write(t, itemA+itemB[:10])
	first, err := guest.Tail(path, 0, guest.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := guest.Batch{Lines: []guest.Line{{Type: guest.LineItem, Path: "a", Outputs: []string{"a"}}}, Offset: int64(len(itemA)), More: true}
	if d := cmp.Diff(want, first); d != "" {
		t.Errorf("first batch (-want +got):\n%s", d)
	}
	if err := os.WriteFile(path, []byte(itemA+itemB+endLine), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := guest.Tail(path, first.Offset, guest.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want = guest.Batch{Lines: []guest.Line{
		{Type: guest.LineItem, Path: "b", Error: "exit code 3", ExitCode: 3},
		{Type: guest.LineEnd, CPU: 12, MaxRSS: 4096, ExitCode: 143, Signal: 15},
	}, Offset: int64(len(itemA + itemB + endLine))}
	if d := cmp.Diff(want, second); d != "" {
		t.Errorf("second batch (-want +got):\n%s", d)
	}
	again, err := guest.Tail(path, 0, guest.Limits{})
	if err != nil || len(again.Lines) != 3 {
		t.Errorf("Tail from 0 after a restart = %d lines, %v, want 3", len(again.Lines), err)
	}
}

func TestTailSkipsWhatIsWrong(t *testing.T) {
	bad := []string{
		`garbage`, ``, `null`, `[]`, `{}`, "\x00\xff", `{"type":"surprise"}`,
		`{"type":"item"}`, `{"type":"item","path":"../etc/passwd"}`, `{"type":"item","path":"/a"}`,
		`{"type":"item","path":"a","outputs":["b/../../c"]}`, `{"type":"item","path":"a","kind":"lost"}`,
		`{"type":"item","path":"a","outputs":[` + strings.Repeat(`"x",`, guest.MaxOutputs) + `"x"]}`,
		`{"type":"item","path":"a","exit_code":-1}`, `{"type":"item","path":"a","exit_code":1e9}`,
		`{"type":"start_error","exit_code":0}`, `{"type":"end","cpu_ns":-1}`, `{"type":"end","cpu_ns":1e99}`,
		`{"type":"end"} trailing`, strings.Repeat("[", 8000),
		`{"type":"item","path":"a","error":"` + strings.Repeat("x", guest.MaxLine) + `"}`,
	}
	path := write(t, strings.Join(bad, "\n")+"\n"+itemA)
	b, err := guest.Tail(path, 0, guest.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if b.Skipped != len(bad) || len(b.Lines) != 1 || b.Lines[0].Path != "a" {
		t.Errorf("Tail = %d skipped, lines %+v; want %d skipped and item a", b.Skipped, b.Lines, len(bad))
	}
}

func TestTailCutsText(t *testing.T) {
	path := write(t, `{"type":"item","path":"a","error":"`+strings.Repeat("é", 2000)+`"}`+"\n")
	b, err := guest.Tail(path, 0, guest.Limits{})
	if err != nil || len(b.Lines) != 1 {
		t.Fatalf("Tail = %+v, %v, want one line", b, err)
	}
	if got := b.Lines[0].Error; got != strings.Repeat("é", guest.MaxText/2) {
		t.Errorf("error has %d bytes, want %d whole runes", len(got), guest.MaxText/2)
	}
}

func TestTailBounds(t *testing.T) {
	t.Run("a line that never ends holds nothing up", func(t *testing.T) {
		path := write(t, strings.Repeat("x", 100_000)+"\n"+itemA)
		lines, calls, offset := 0, 0, int64(0)
		for more := true; more; calls++ {
			b, err := guest.Tail(path, offset, guest.Limits{Batch: 2 * guest.MaxLine})
			if err != nil {
				t.Fatal(err)
			}
			lines, offset, more = lines+len(b.Lines), b.Offset, b.More
		}
		if lines != 1 || calls > 8 {
			t.Errorf("%d lines in %d calls, want 1 in at most 8", lines, calls)
		}
	})
	t.Run("total", func(t *testing.T) {
		path := write(t, strings.Repeat(itemA, 100_000))
		lim := guest.Limits{Total: int64(10 * len(itemA))}
		b, err := guest.Tail(path, 0, lim)
		if err != nil || len(b.Lines) != 10 || !b.Full || b.More {
			t.Errorf("Tail = %d lines, full %v, more %v, %v; want 10, true, false", len(b.Lines), b.Full, b.More, err)
		}
		if b, err = guest.Tail(path, b.Offset, lim); err != nil || len(b.Lines) != 0 || !b.Full {
			t.Errorf("Tail past the total = %+v, %v, want nothing", b, err)
		}
	})
	t.Run("a report that shrank", func(t *testing.T) {
		b, err := guest.Tail(write(t, itemA), 1<<20, guest.Limits{})
		if err != nil || len(b.Lines) != 0 || b.Offset != 1<<20 {
			t.Errorf("Tail = %+v, %v, want nothing", b, err)
		}
	})
	t.Run("no report yet", func(t *testing.T) {
		b, err := guest.Tail(filepath.Join(t.TempDir(), "none"), 7, guest.Limits{})
		if err != nil || b.Offset != 7 {
			t.Errorf("Tail = %+v, %v, want offset 7", b, err)
		}
	})
}

// The report is put there by the program: whatever it is, Tail neither blocks
// nor leaves its directory.
func TestTailRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	secret := write(t, itemA)
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"symlink": link, "O04 fifo": fifo, "directory": dir, "device": "/dev/zero"} {
		if b, err := guest.Tail(path, 0, guest.Limits{}); !errors.Is(err, guest.ErrNotRegular) || len(b.Lines) != 0 {
			t.Errorf("%s: Tail = %+v, %v, want ErrNotRegular", name, b, err)
		}
	}
	// The control: without O_NOFOLLOW the link would have given the line.
	if b, err := guest.Tail(secret, 0, guest.Limits{}); err != nil || len(b.Lines) != 1 {
		t.Errorf("Tail of the link's target = %+v, %v, want one line", b, err)
	}
}

func TestEncodeIsReadBack(t *testing.T) {
	in := []guest.Line{
		{Type: guest.LineItem, Path: "ü/x", Outputs: []string{"ü/x"}},
		{Type: guest.LineItem, Path: "b", Error: "no space left", Kind: guest.KindQuota, ExitCode: 1},
		{Type: guest.LineStartError, Detail: "nope: not found", ExitCode: 127},
		{Type: guest.LineFailure, Detail: "the mapper ended with exit code 7", ExitCode: 7},
		{Type: guest.LineCounters, Counters: map[string]int64{"map.pairs": 1 << 60, "ms_2": -1}},
		{Type: guest.LineEnd, CPU: 1, MaxRSS: 2, ExitCode: 3},
	}
	var text []byte
	for _, l := range in {
		b, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	b, err := guest.Tail(write(t, string(text)), 0, guest.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, b.Lines); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}

func TestValidCounters(t *testing.T) {
	many := map[string]int64{}
	for i := range guest.MaxCounters {
		many[fmt.Sprint("c", i)] = 1
	}
	for _, good := range []map[string]int64{nil, {"a": 1}, {strings.Repeat("z", 40): 1, "map.bytes_out0": -1}, many} {
		if !guest.ValidCounters(good) {
			t.Errorf("ValidCounters(%v) = false, want true", good)
		}
	}
	more := maps.Clone(many)
	more["another"] = 1
	for _, bad := range []map[string]int64{{"": 1}, {"A": 1}, {"a b": 1}, {"é": 1}, {strings.Repeat("z", 41): 1}, more} {
		if guest.ValidCounters(bad) {
			t.Errorf("ValidCounters(%v) = true, want false", bad)
		}
	}
}

func FuzzTail(f *testing.F) {
	for _, s := range []string{"", itemA, itemA + itemB + endLine, "{}\n", strings.Repeat("x", 20_000) + "\n" + itemA, `{"type":"item","path":"` + strings.Repeat(`\u0001`, 1300) + "\"}\n"} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), guest.Report)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		lim := guest.Limits{Batch: 1}
		for offset, more := int64(0), true; more; {
			b, err := guest.Tail(path, offset, lim)
			if err != nil || b.Offset < offset || b.Offset > int64(len(data)) {
				t.Fatalf("Tail(%d) = offset %d of %d, %v", offset, b.Offset, len(data), err)
			}
			for _, l := range b.Lines {
				if l.Type == guest.LineItem && !guest.ValidPath(l.Path) || len(l.Error) > guest.MaxText || len(l.Outputs) > guest.MaxOutputs {
					t.Fatalf("Tail let %+v through", l)
				}
			}
			if b.More && b.Offset == offset {
				t.Fatalf("Tail stands still at %d", offset)
			}
			offset, more = b.Offset, b.More
		}
	})
}
