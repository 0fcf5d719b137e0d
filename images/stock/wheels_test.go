package stock_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/images/stock"
)

// What pip is told in the root is the given index and authorities, not what
// the host's environment says of its own files.
func TestBuildWheels(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	ca := filepath.Join(t.TempDir(), "it's a ca.pem")
	if err := os.WriteFile(ca, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PIP_FIND_LINKS", "/host/wheels")
	t.Setenv("PIP_INDEX_URL", "https://host.example/simple")
	t.Setenv("REQUESTS_CA_BUNDLE", "/host/ca.pem")
	out := fakeTool(t, `{ env; for a in "$@"; do echo "arg $a"; done; cat wheels.txt; } > `+seen+"; exit 7")
	_, _, err := stock.Build(t.Context(), stock.Config{Name: "tensorflow", Out: out, Index: "https://user:secret@index.example/simple", CAFile: ca})
	if err == nil {
		t.Fatal("Build succeeds with a tool that fails")
	}
	b, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{
		"PIP_INDEX_URL=https://user:secret@index.example/simple\n", "PIP_CERT=/tmp/authorities.pem\n",
		`upload '`, `it'\''s a ca.pem' /tmp/authorities.pem`, "--require-hashes", "tensorflow-cpu==2.21.0 --hash=sha256:",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("mmdebstrap is not told %q", want)
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if arg, ok := strings.CutPrefix(line, "arg "); ok && strings.Contains(arg, "secret") {
			t.Errorf("the index's password is in an argument: %s", arg)
		}
		if strings.Contains(line, "/host/") || strings.Contains(line, "host.example") {
			t.Errorf("mmdebstrap is told %q", line)
		}
	}
	_, _, err = stock.Build(t.Context(), stock.Config{Name: "tensorflow", Out: out, CAFile: ca + "x"})
	if err == nil || !strings.Contains(err.Error(), "certificate authorities") {
		t.Errorf("Build with authorities that are not there = %v, want that said", err)
	}
}

// Each wheel of a list has one hash, so that nothing else is installed.
func TestWheelLists(t *testing.T) {
	line := regexp.MustCompile(`^[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}$`)
	for _, r := range images.Stock() {
		if (r.Wheels == "") != (len(r.WheelList()) == 0) {
			t.Errorf("recipe %s names %q and has %d bytes of wheels", r.Name, r.Wheels, len(r.WheelList()))
		}
		for _, l := range strings.Split(strings.TrimSuffix(string(r.WheelList()), "\n"), "\n") {
			if r.Wheels != "" && !line.MatchString(l) {
				t.Errorf("%s of %s: %q is not name==version with a hash", r.Wheels, r.Name, l)
			}
		}
	}
}
