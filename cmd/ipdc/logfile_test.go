package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLogFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.log")
	for _, line := range []string{"1111\n", "2222\n", "3333\n", "4444\n", "a line that is longer than a file may be\n", "5555\n"} {
		f, err := openLogFile(path, 12, 3) // opened anew each time, as by a node that restarts
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = strings.ReplaceAll(string(b), "\n", " ")
	}
	want := map[string]string{
		"node.log": "5555 ", "node.log.1": "a line that is longer than a file may be ", "node.log.2": "3333 4444 ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
