package script_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pictures makes one picture of each kind that is hard, in the directory that
// is its argument.
const pictures = `
import os, random, sys
from PIL import Image
os.makedirs(sys.argv[1] + "/sub"); os.chdir(sys.argv[1])
def noise(mode, width, height, size=1): return Image.frombytes(mode, (width, height), random.Random(1).getrandbits(8 * width * height * size).to_bytes(width * height * size, "big"))
noise("RGB", 5120, 2880, 3).save("big.jpg", quality=90)
noise("RGBA", 5120, 2880, 4).save("sub/rgba.png", compress_level=1)
noise("L", 5120, 2880).convert("P").save("sub/palette.png", compress_level=1)
noise("I;16", 5120, 2880, 2).save("deep.png", compress_level=1)
noise("L", 640, 480).convert("P").save("transparent.gif", transparency=3)
noise("I;16", 512, 288, 2).save("deep16.tif")
noise("RGB", 640, 480, 3).convert("CMYK").save("cmyk.jpg")
noise("L", 640, 480).convert("1").save("one.png")
noise("L", 640, 480).convert("LA").save("la.png")
noise("L", 64, 64).convert("F").save("float.tif")
Image.new("F", (64, 64), 0.0).save("black.tif")
Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save("clear.png")
Image.new("I;16", (9, 9), 65535).save("white16.png")
Image.new("RGB", (1, 1), "red").save("tiny.bmp")
e = Image.Exif(); e[0x112] = 6
noise("RGB", 200, 100, 3).save("rotated.jpg", exif=e)
`

// The example of the documentation, on pictures of all kinds.
func TestDownscaleExample(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import PIL").CombinedOutput(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("IPDC_TEST_REQUIRE"), ","), "pillow") {
			t.Fatalf("Pillow is required: %s", out)
		}
		t.Skip("python3 has no Pillow")
	}
	dir := t.TempDir() + "/in"
	if out, err := exec.Command("python3", "-c", pictures, dir).CombinedOutput(); err != nil {
		t.Fatalf("make pictures: %v\n%s", err, out)
	}
	source, err := os.ReadFile("../../examples/process.py")
	must(t, err)
	j := job{source: string(source), inputs: tree(t, dir)}
	end := j.run(t)
	if end.code != 0 {
		t.Fatalf("exit code %d\n%s", end.code, end.stderr)
	}
	var want []string
	for name := range j.inputs {
		want = append(want, name[:strings.LastIndexByte(name, '.')]+".jpg")
	}
	slices.Sort(want)
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(end.outputs))); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	for name, text := range end.outputs {
		checkPicture(t, name, text)
	}
	t.Logf("peak memory %d MiB", end.rss>>20)
	if end.rss > 512<<20 {
		t.Errorf("it took %d MiB of memory, want at most 512", end.rss>>20)
	}
	if d := cmp.Diff(end.outputs, j.run(t).outputs); d != "" {
		t.Error("a second run gives other bytes")
	}
}

func checkPicture(t *testing.T, name, text string) {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if _, ok := img.(*image.Gray); !ok || len(text) >= 200_000 || img.Bounds().Dx() > 1024 || img.Bounds().Dy() > 1024 {
		t.Errorf("%s: %T of %v in %d bytes, want a small grey picture", name, img, img.Bounds(), len(text))
	}
	bright := img.At(0, 0).(color.Gray).Y
	if white := name == "clear.jpg" || name == "white16.jpg"; white && bright < 250 || name == "black.jpg" && bright > 5 {
		t.Errorf("%s has brightness %d", name, bright)
	}
	if b := img.Bounds(); name == "rotated.jpg" && (b.Dx() != 100 || b.Dy() != 200) {
		t.Errorf("%s is %v, want it upright", name, b)
	}
}
