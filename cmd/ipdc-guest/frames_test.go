package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/wire/guest"
)

// harnessCommand is the command of a stage of Python functions.
func harnessCommand(t *testing.T, half, source string) []string {
	t.Helper()
	dir := t.TempDir()
	harness, err := os.ReadFile("../../workload/mapreduce/harness.py")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"harness.py": string(harness), "User.py": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []string{half, "--io=frames", "--", "python3", filepath.Join(dir, "harness.py"), half, "--" + half + "=User.py"}
}

// A program may end well in the eyes of the system with records left in its
// buffers.
func TestS24FramesThatEndEarly(t *testing.T) {
	inputs := map[string]string{"a": strings.Repeat("some words\n", 1000)}
	const mapper = "import os\ndef map(key, value):\n    yield value, key[1]\n"
	const reducer = "import os\ndef reduce(key, values):\n    yield key, len(list(values))\n"
	stage := func(t *testing.T, inputs map[string]string, half, source string) (box, result) {
		b := newBox(t, inputs)
		t.Setenv(guest.EnvInputs, b.at(guest.Inputs))
		return b, b.stage(harnessCommand(t, half, source)...)
	}
	whole, r := stage(t, inputs, "map", mapper)
	if r.code != 0 || r.lines[0].Counters["map.pairs"] != 1000 {
		t.Fatalf("map: exit code %d, %s, %+v", r.code, r.stderr, r.lines)
	}
	parts := map[string]string{"part-00000/00000000": whole.outputs()["part-00000"]}
	reduced, r := stage(t, parts, "reduce", reducer)
	if got := reduced.outputs()["part-00000"]; r.code != 0 || got != "some words\t1000\n" {
		t.Fatalf("reduce: exit code %d, %s, output %q", r.code, r.stderr, got)
	}
	for _, tc := range []struct {
		half, source, detail string
		inputs               map[string]string
		code                 int
	}{
		{"map", mapper + "    if key[1] > 5000: os._exit(0)\n", "the mapper ended with exit code 0 before its output was whole", inputs, guest.ExitGuest},
		{"reduce", reducer + "    os._exit(0)\n", "the reducer ended with exit code 0 before its output was whole", parts, guest.ExitGuest},
		{"map", mapper + "    os.write(3, b'cut')\n    os._exit(4)\n", "the mapper ended with exit code 4", inputs, 4},
	} {
		if _, r := stage(t, tc.inputs, tc.half, tc.source); r.code != tc.code || !strings.Contains(r.stderr, tc.detail) || !strings.Contains(r.lines[0].Detail, tc.detail) {
			t.Errorf("%s: exit code %d, stderr %q, want %d, %q", tc.half, r.code, r.stderr, tc.code, tc.detail)
		}
	}
}
