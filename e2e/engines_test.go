package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// A member whose engine has no image and no registry, and whose package index
// does not answer, gets image and packages by CID from the owner of the job,
// and gives the same result.
func TestImageAndPackagesTravelByCID(t *testing.T) {
	index, asked := sourceIndex(t)
	owner := newMember(t, "--index", index, "--network-allow-private", "127.0.0.0/8")
	dir, data := t.TempDir(), t.TempDir()
	write(t, data, "a", "content of a")
	write(t, data, "b", "content of b")
	program := write(t, dir, "p.py", "import demo\ndef f(file):\n    return demo.version + str(len(file.read()))\n")
	needs := write(t, dir, "requirements.txt", "demo\n")
	root := owner.ok("add", "-q", data)
	submit := []string{"job", "submit", "-f", program, "-r", needs, "--allow-build", "-c", root}
	alone := owner.ok(submit...)
	if asked.Load() == 0 {
		t.Error("the owner did not ask its index")
	}
	out := filepath.Join(dir, "out")
	owner.ok("get", alone, out)
	for path, text := range files(t, out) {
		if !strings.HasPrefix(text, "built") {
			t.Errorf("%s = %q, want the words of the package", path, text)
		}
	}

	engine := testenv.Engine(t)
	t.Setenv("DOCKER_HOST", engine) // of what starts from here on
	worker := newMember(t, "--index", "http://127.0.0.1:1/simple")
	if had := imagesOf(t, engine); had != "" {
		t.Fatalf("the second engine has images: %s", had)
	}
	worker.joins(owner)
	worker.ok("pin", "add", root)
	owner.ok("pin", "rm", root)
	owner.ok("job", "rm", "@last")
	owner.ok("node", "gc")

	got := owner.ok(submit...)
	if got != alone {
		t.Errorf("two engines give %s, one %s", got, alone)
	}
	j := owner.job("@last")
	for _, a := range j.Attempts {
		if a.Node != worker.peerID() {
			t.Errorf("attempt %s was made by %s, want the member that holds the data", a.ID, a.Node)
		}
		if len(a.Receipt.Packages) != 1 || a.Receipt.Packages[0] != "demo==2.0" || !strings.Contains(imagesOf(t, engine), string(a.Receipt.Image)) {
			t.Errorf("receipt has packages %v and image %s, the second engine %s", a.Receipt.Packages, a.Receipt.Image, imagesOf(t, engine))
		}
	}
	if len(j.Attempts) == 0 {
		t.Error("nothing was run")
	}
	if list := worker.installs(); len(list) > 0 {
		t.Errorf("the worker installed packages itself: %v", list)
	}
}

// imagesOf lists the images of an engine by their digests.
func imagesOf(t testing.TB, host string) string {
	t.Helper()
	out, err := exec.Command("docker", "-H", host, "images", "-aq", "--no-trunc").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
