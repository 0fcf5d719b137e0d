package e2e

import (
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// pictures fetches a real picture set and returns its folder.
func pictures(t testing.TB, set string) string {
	t.Helper()
	out, err := exec.Command("../scripts/pictures.sh", set).Output()
	if err != nil {
		t.Fatalf("scripts/pictures.sh %s: %v", set, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// onlyDownscale is the program of the vision, as it stands there: one function
// of its own choosing, and nothing of ours.
const onlyDownscale = `from PIL import Image
import io

def downscale(f):
    img = Image.open(f).convert("L")
    img.thumbnail((256, 256))
    buf = io.BytesIO()
    img.save(buf, "JPEG")
    return buf.getvalue()
`

func TestPictures(t *testing.T) {
	for _, set := range []struct {
		name  string
		count int
	}{{"openuniverse", 72}, {"wallpapers", 215}} {
		t.Run(set.name, func(t *testing.T) {
			n := newNode(t)
			dir := pictures(t, set.name)
			cid := n.ok("add", "-q", dir)
			r := n.ipdc("job", "submit", "-f", "../examples/process.py", "-c", cid)
			if r.code != 0 || !oneCID.MatchString(r.stdout) {
				t.Fatalf("submit = %+v, want one CID and nothing else on stdout", r)
			}
			checkPictures(t, n, strings.TrimSpace(r.stdout), set.count)
			if off := n.ok("job", "submit", "-f", "../examples/process.py", "-c", cid, "--cache", "off"); off+"\n" != r.stdout {
				t.Errorf("with --cache off %s, before %s", off, r.stdout)
			}
			small := write(t, t.TempDir(), "downscale.py", onlyDownscale)
			checkPictures(t, n, n.ok("job", "submit", "-f", small, "-c", cid), set.count)
		})
	}
}

// One picture of 1 GB needs more than the default memory; the refusal names how
// much to give, and with that the same command works.
func TestHugePicture(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	const side = 18_300 // 1,004,670,000 bytes of pixels, all black, so that they take one block
	path := write(t, dir, "huge.ppm", fmt.Sprintf("P6\n%d %d\n255\n", side, side))
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()+3*side*side)
	}
	if err != nil {
		t.Fatal(err)
	}
	cid := n.ok("add", "-q", dir)
	r := n.fails(6, "job", "submit", "-f", "../examples/process.py", "-c", cid)
	if f := n.job("@last").Failure; f == nil || f.Kind != jobspec.KindOOM || !strings.Contains(f.Detail, "512MiB") {
		t.Fatalf("failure = %+v, want oom at 512MiB", f)
	}
	hint := regexp.MustCompile(`--memory (\S+)`).FindStringSubmatch(r.stderr)
	if hint == nil {
		t.Fatalf("stderr = %s, want --memory and a number", r.stderr)
	}
	checkPictures(t, n, n.ok("job", "submit", "-f", "../examples/process.py", "-c", cid, "--memory", hint[1]), 1)
}

// checkPictures downloads a result and opens every picture in it.
func checkPictures(t *testing.T, n *node, cid string, want int) {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "small")
	n.ok("get", cid, dest)
	count := 0
	err := filepath.WalkDir(dest, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, _, err := image.Decode(f); err != nil {
			t.Errorf("%s does not open: %v", path, err)
		}
		if info, err := f.Stat(); err != nil || info.Size() >= 200_000 {
			t.Errorf("%s has %d bytes, want less than 200 kB", path, info.Size())
		}
		return nil
	})
	if err != nil || count != want {
		t.Errorf("%d pictures, %v; want %d", count, err, want)
	}
}
