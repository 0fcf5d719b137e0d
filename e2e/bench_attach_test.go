package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// benchAttach runs a job over a small sector that is attached.
func benchAttach(t testing.TB, w io.Writer) {
	const size = 2 << 30
	n := newNode(t, "--cpu", "2")
	path := filepath.Join(t.TempDir(), "sector.car")
	root := writeSector(t, path, size)
	o := n.runsOver(path, root, filepath.Join(t.TempDir(), "r"))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, `
## An attached CAR file of 2 GiB
With 128 files of %s each, once. `+"`ipdc data attach`"+` reads and hashes it in %s (%.0f MB/s). A job that reads some bytes of each file, two tasks
at a time, takes %s; at its peak there are %.1f MB more on the disk than before, %.1f %% of the file, of which %.1f MB are staged input.
`, jobspec.Bytes(size/128), show(o.attached), float64(info.Size())/1e6/o.attached.Seconds(), show(o.took), float64(o.extra)/1e6, 100*float64(o.extra)/float64(size), float64(o.staged)/1e6)
}
