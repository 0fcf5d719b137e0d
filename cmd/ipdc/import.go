package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) importCmd() *cobra.Command {
	var pin bool
	cmd := &cobra.Command{
		Use:   "import FILE... | -",
		Short: "Store the DAGs of CAR files and print their roots",
		Long: "Import reads content-addressable archives (CAR, version 1 or 2) with one or more\n" +
			"roots, stores their blocks on the node and pins the roots. Each block is checked\n" +
			"against its CID, and each root must be whole; else nothing is pinned.",
		Example: "  ipdc import data.car\n  curl -s https://.../data.car | ipdc import -q -",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				for _, file := range args {
					if err := a.importFile(cmd.Context(), c, file, pin); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&pin, "pin", true, "keep the DAGs; without, they go with the next garbage collection (ipdc node gc, or gc-period)")
	return cmd
}

// imported is the answer of ipdc import for one file.
type imported struct {
	wire.Imported
	Path string `json:"path"`
}

func (a *app) importFile(ctx context.Context, c *client.Client, file string, pin bool) error {
	res, err := a.sendCAR(ctx, c, file, pin, "")
	if err != nil {
		return importError(file, err)
	}
	var names []string
	for _, r := range res.Roots {
		names = append(names, r.String())
	}
	return a.print(imported{res, file}, strings.Join(names, "\n"), func(w io.Writer) error {
		for _, n := range names {
			if _, err := fmt.Fprintf(w, "imported %s %s\n", n, visible(file)); err != nil {
				return err
			}
		}
		if !pin {
			a.say("nothing is pinned: the blocks go with the next garbage collection (ipdc node gc, or gc-period)")
		}
		return nil
	})
}

// importError adds the file, and what to do with one that is no CAR.
func importError(file string, err error) error {
	if !errors.Is(err, jobspec.KindCARFormat.Error()) {
		return fmt.Errorf("%s: %w", file, err)
	}
	f := jobspec.AsFailure(err)
	f.Where, f.Hint = file, "ipdc add stores any other file as it is"
	return f.Error()
}

// sendCAR imports a file, or standard input, and pins its roots, or holds them.
func (a *app) sendCAR(ctx context.Context, c *client.Client, file string, pin bool, hold string) (wire.Imported, error) {
	in, total := a.in, int64(0)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return wire.Imported{}, jobspec.Failure{Kind: jobspec.KindNotFound, Detail: err.Error()}.Error()
		}
		defer f.Close()
		info, err := f.Stat()
		if err == nil && info.IsDir() {
			return wire.Imported{}, usagef("this is a directory, not a CAR; ipdc add stores directories")
		}
		in, total = f, sizeOf(info)
	}
	bar := a.bytesBar("import "+filepath.Base(file), total)
	defer bar.done()
	r := &counted{r: in, set: bar.set}
	if hold != "" {
		return c.ImportHeld(ctx, r, hold)
	}
	return c.Import(ctx, r, pin)
}

func sizeOf(info os.FileInfo) int64 {
	if info == nil {
		return 0
	}
	return info.Size()
}

// carRoot returns the one root of a CAR file that is to be a job's input.
func carRoot(file string) (jobspec.CID, error) {
	f, err := os.Open(file)
	if err != nil {
		return jobspec.CID{}, usageError{err}
	}
	defer f.Close()
	roots, err := car.Roots(f)
	if err != nil {
		return jobspec.CID{}, importError(file, err)
	}
	if len(roots) == 1 {
		return roots[0], nil
	}
	var list strings.Builder
	for _, r := range roots[:min(len(roots), 10)] {
		fmt.Fprintf(&list, "\n  %s", r)
	}
	return jobspec.CID{}, jobspec.Failure{
		Kind: jobspec.KindCARRoots, Where: "-c " + file,
		Detail: fmt.Sprintf("the CAR has %d roots, and a job takes one:%s", len(roots), list.String()),
		Hint:   "ipdc import " + file + ", then give one of them with -c CID",
	}.Error()
}
