package script_test

import (
	"strings"
	"testing"
)

// pillow behaves as PIL.Image does with pictures of many pixels.
const pillow = `
import sys, types

class DecompressionBombError(Exception):
    pass

Image = types.ModuleType("PIL.Image")
Image.MAX_IMAGE_PIXELS = 89478485

def _open(pixels):
    limit = Image.MAX_IMAGE_PIXELS
    if limit and pixels > 2 * limit:
        raise DecompressionBombError("Image size (%d pixels) exceeds limit of %d pixels, could be decompression bomb DOS attack." % (pixels, 2 * limit))
    return b"ok"

sys.modules["PIL.Image"] = Image
`

// TestPictures has pictures around what the memory of a machine that runs this
// test can hold. The container's own limit is looked at in e2e.
func TestPictures(t *testing.T) {
	for _, c := range []struct {
		name, body, says string
	}{
		{"small", "_open(int(file.read()))", ""},
		{"too large for any machine", "_open(10**20)", "DecompressionBombError: Image size (100000000000000000000 pixels)"},
		{"the number to ask for", "_open(10**20)", "MB: ask for --memory 549755813888GiB"},
		{"a limit of the user's own", "_open(10**6)", "exceeds limit"},
		{"another error with pixels in it", "1/0 if file else '5 pixels'", "ZeroDivisionError: division by zero (process.py"},
	} {
		source := pillow + "\ndef f(file):\n    return " + c.body + "\n"
		if c.name == "a limit of the user's own" {
			source = strings.Replace(source, "def f", "Image.MAX_IMAGE_PIXELS = 1000\ndef f", 1)
		}
		end := job{source: source, inputs: map[string]string{"a": "1000"}}.run(t)
		if c.says == "" {
			if end.code != 0 || end.outputs["a"] != "ok" {
				t.Errorf("%s: exit code %d\n%s", c.name, end.code, end.stderr)
			}
			continue
		}
		if end.code != 1 || len(end.items) != 1 || !strings.Contains(end.items[0].Error, c.says) {
			t.Errorf("%s: exit code %d, report %+v, want %q", c.name, end.code, end.items, c.says)
		}
	}
}
