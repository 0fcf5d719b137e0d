package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
)

// exportFlags are the flags of export as they were typed.
type exportFlags struct {
	file    string
	version int
	force   bool
}

func (a *app) exportCmd() *cobra.Command {
	f := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "export CID[/PATH]|NAME[@VERSION][/PATH]",
		Short: "Write a DAG as a CAR file",
		Long: "Export writes all blocks below a CID as a content-addressable archive (CAR), to\n" +
			"standard output or to a file. Each block stands in it once, in the order of a\n" +
			"depth-first walk, so that one CID always gives the same bytes, and each is checked\n" +
			"against its CID. Any IPFS program can import it.",
		Example: "  ipdc export bafy... > data.car\n  ipdc export bafy.../2024 -o 2024.car\n  ipdc export bafy... --car-version 2 -o data.car",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.version != 1 && f.version != 2 {
				return usagef("--car-version %d: there are versions 1 and 2", f.version)
			}
			return a.withClient(func(c *client.Client) error { return a.export(cmd.Context(), c, args[0], f) })
		},
	}
	cmd.Flags().StringVarP(&f.file, "output", "o", "-", "file to write; - is standard output")
	cmd.Flags().IntVar(&f.version, "car-version", 1, "1, or 2 with an index of the blocks")
	cmd.Flags().BoolVarP(&f.force, "force", "f", false, "overwrite a file that exists")
	return cmd
}

func (a *app) export(ctx context.Context, c *client.Client, path string, f *exportFlags) error {
	if f.file == "-" && tty(a.out) {
		return usagef("a CAR is not for a terminal: give a file with -o FILE, or redirect the output")
	}
	if f.file != "-" && !f.force {
		if _, err := os.Lstat(f.file); err == nil {
			return jobspec.Failure{
				Kind: jobspec.KindConflict, Detail: fmt.Sprintf("%s exists", f.file), Hint: "give another file, or --force to overwrite it",
			}.Error()
		}
	}
	root, err := c.Resolve(ctx, path)
	if err != nil {
		return err
	}
	body, err := c.Export(ctx, root)
	if err != nil {
		return err
	}
	defer body.Close()
	bar := a.bytesBar("export", 0)
	src := car.NewSource(&counted{r: body, set: bar.set})
	var stats car.Stats
	switch {
	case f.file == "-" && f.version == 1:
		stats, err = car.WriteOnce(ctx, a.out, src, root)
	case f.file == "-":
		stats, err = exportV2(ctx, a.out, src, root)
	default:
		stats, err = exportFile(ctx, f, src, root)
	}
	bar.done()
	if err == nil && f.file != "-" {
		a.say("exported %s to %s (%s, %s)", root, visible(f.file), size(stats.Bytes), count(stats.Blocks, "block"))
	}
	return err
}

// exportFile writes beside the file and takes its name at the end, so that a
// file of that name is whole.
func exportFile(ctx context.Context, f *exportFlags, src *car.Source, root jobspec.CID) (stats car.Stats, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(f.file), ".ipdc-export-*")
	if err != nil {
		return stats, fmt.Errorf("write %s: %w", f.file, err)
	}
	defer os.Remove(tmp.Name()) // fails once it has its name
	if f.version == 2 {
		stats, err = car.WriteV2(ctx, tmp, src, root)
	} else {
		stats, err = car.WriteOnce(ctx, tmp, src, root)
	}
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return stats, err
	}
	return stats, os.Rename(tmp.Name(), f.file)
}

// exportV2 goes by way of a temporary file, as the header in front of a CARv2
// tells the size of what follows.
func exportV2(ctx context.Context, w io.Writer, src *car.Source, root jobspec.CID) (stats car.Stats, err error) {
	tmp, err := os.CreateTemp("", "ipdc-export-*")
	if err != nil {
		return stats, err
	}
	defer func() { err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name())) }()
	if stats, err = car.WriteV2(ctx, tmp, src, root); err != nil {
		return stats, err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return stats, err
	}
	_, err = io.Copy(w, tmp)
	return stats, err
}

// counted tells how many bytes were read.
type counted struct {
	r   io.Reader
	n   int64
	set func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.set(c.n)
	return n, err
}
