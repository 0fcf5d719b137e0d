package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// TestPublicData runs jobs over data that only a Kubo's gateway has.
func TestPublicData(t *testing.T) {
	parallel(t)
	kubo := testenv.Kubo(t)
	n := newNode(t, "--gateway", kubo.Gateway)
	dir := t.TempDir()
	for _, name := range []string{"a/1", "a/2", "b"} {
		write(t, dir, name, "text of "+name)
	}
	root := kubo.Run("add", "-rQ", dir)
	for _, input := range []string{root, root + "/a", root + "/b"} {
		if out := n.ok("job", "submit", "-e", "tr a-z A-Z", "-c", input); !strings.HasPrefix(out, "baf") {
			t.Errorf("job over %s gives %q", input, out)
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	n.ok("get", root, out)
	if got := files(t, out); got["a/1"] != "text of a/1" || len(got) != 3 {
		t.Errorf("ipdc get = %v", got)
	}
	missing := n.ok("add", "-n", "-q", write(t, t.TempDir(), "nobody", "nobody has it"))
	res := n.fails(6, "job", "submit", "-e", "cat", "-c", missing)
	for _, w := range []string{"E_FETCH_TIMEOUT", kubo.Gateway, "--gateway URL"} {
		if !strings.Contains(res.stderr, w) {
			t.Errorf("the refusal does not say %q:\n%s", w, res.stderr)
		}
	}
}

// TestStorageMax has a node whose block store is full.
func TestStorageMax(t *testing.T) {
	parallel(t)
	n := newNode(t, "--storage-max", "64KiB")
	big := write(t, t.TempDir(), "big", strings.Repeat("0123456789", 10_000))
	n.ok("add", big)
	for _, args := range [][]string{{"add", write(t, t.TempDir(), "more", "more")}, {"job", "submit", "--once", "-e", "true"}} {
		res := n.fails(1, args...)
		for _, w := range []string{"64.0 KiB", "--storage-max", "ipdc node gc"} {
			if !strings.Contains(res.stderr, w) {
				t.Errorf("ipdc %s: the refusal does not say %q:\n%s", args[0], w, res.stderr)
			}
		}
	}
}
