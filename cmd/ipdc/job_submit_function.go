package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/function"
)

// functionFlags is -x with the function that it names.
type functionFlags struct {
	path string
	fn   *function.Function // nil until it was read
}

func (f *functionFlags) add(fs *pflag.FlagSet) {
	fs.StringVarP(&f.path, "exec", "x", "", "function to run: CID, CID/path, or a local path, which is added first")
}

const functionHelp = `  -x CID|PATH  runs a function that is stored in IPFS: a Python file as of -f, a
               directory with a process.py (and a requirements.txt), a job spec,
               of which the run part is taken, or a WASI module, which needs no
               container engine and runs as -e does, from stdin to stdout.
`

// nodeFiles reads functions from a node.
type nodeFiles struct{ *client.Client }

// Open streams a file.
func (n nodeFiles) Open(ctx context.Context, file jobspec.CID) (io.ReadCloser, error) {
	return n.Download(ctx, file, client.FormatRaw)
}

// List lists a directory.
func (n nodeFiles) List(ctx context.Context, path string) (wire.Listing, error) {
	return n.Client.List(ctx, path)
}

// readFunction reads what -x names from the node. A local path is added to it
// first, so that the function has a CID for the next time.
func (a *app) readFunction(ctx context.Context, f *submitFlags) error {
	path := f.exec.path
	if path == "" {
		return nil
	}
	if _, err := jobspec.ParsePath(path); err != nil {
		if _, serr := os.Stat(path); serr != nil {
			return usagef("-x %q is neither a CID nor a path that exists here (%v)", path, err)
		}
		if f.dryRun {
			return usagef("-x %s --dry-run: a dry run stores nothing, and a function is read from the node: ipdc add it and give its CID", path)
		}
		res, err := a.upload(ctx, path, f.hold())
		if err != nil {
			return fmt.Errorf("add %s: %w", path, err)
		}
		a.say("added %s %s", res.CID, visible(path))
		path = res.CID.String()
	}
	return a.withClient(func(c *client.Client) error {
		fn, err := function.Read(ctx, nodeFiles{c}, path, function.Options{Function: f.function, Once: f.once})
		f.exec.fn = &fn
		return err
	})
}

// call sets what a function runs.
func (r *request) call(fn function.Function) {
	r.spec.Version, r.spec.Run, r.files = jobspec.Version, fn.Run, fn.Files
}
