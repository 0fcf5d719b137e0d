package joblog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/joblog"
)

func text(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	err := joblog.Read(context.Background(), path, 0, false, func(_ int64, h jobspec.LogHeader, data []byte) error {
		fmt.Fprintf(&b, "%d:%s", h.Stream, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A log that comes in several parts, some of it twice, is the same at the end.
func TestPieces(t *testing.T) {
	dir := t.TempDir()
	there, here := filepath.Join(dir, "there"), filepath.Join(dir, "here")
	from, err := joblog.Create(there, 3, 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	to, err := joblog.Create(here, 3, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var seen int64
	take := func(again int64) {
		t.Helper()
		var b bytes.Buffer
		if err := joblog.Copy(t.Context(), there, max(0, seen-again), &b); err != nil {
			t.Fatal(err)
		}
		if seen, err = to.Take(&b, seen); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprint(from.Stdout(), "one ")
	take(0)
	fmt.Fprint(from.Stdout(), "two ")
	fmt.Fprint(from.Stderr(), "error ")
	take(3)
	fmt.Fprint(from.Stdout(), strings.Repeat("long ", 4000)) // over the bound: some is left out
	fmt.Fprint(from.Stdout(), "end")
	take(1 << 20)
	from.Close()
	to.Close()
	got, want := text(t, here), text(t, there)
	if !strings.Contains(want, "bytes left out") {
		t.Fatalf("nothing was left out of %q", want)
	}
	plain := strings.NewReplacer("1:", "", "2:", "")
	if plain.Replace(got) != plain.Replace(want) {
		t.Errorf("log = %q, want %q", got, want)
	}
}

// What is no log is refused.
func TestPiecesRefused(t *testing.T) {
	head := binary.BigEndian.AppendUint64(nil, 10)
	for name, data := range map[string][]byte{
		"no header":             head,
		"a stream that is none": jobspec.LogHeader{Stream: 9, Len: 1}.Append(bytes.Clone(head)),
		"too long":              jobspec.LogHeader{Stream: 1, Len: 1 << 30}.Append(bytes.Clone(head)),
		"cut":                   append(jobspec.LogHeader{Stream: 1, Len: 10}.Append(bytes.Clone(head)), 'x'),
		"cut in its place":      {0, 0},
	} {
		w, err := joblog.Create(filepath.Join(t.TempDir(), "log"), 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if end, err := w.Take(bytes.NewReader(data), 0); err == nil || end != 0 {
			t.Errorf("%s: Take = %d, %v, want an error", name, end, err)
		}
		w.Close()
	}
}
