package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) getCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "get CID[/PATH]|NAME[@VERSION][/PATH] [DEST]",
		Short: "Download a file or a directory",
		Long: "Get writes the file or directory behind a CID, or in a dataset, to DEST, by default to the last\n" +
			"element of the path in the current directory. DEST - writes a file to standard\n" +
			"output. Every block is checked against its CID.",
		Example: "  ipdc get bafy... small\n  ipdc get bafy.../logs/day1.txt -",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dest, err := destOf(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				dest = args[1]
			}
			return a.withClient(func(c *client.Client) error { return a.get(cmd.Context(), c, args[0], dest, force) })
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "overwrite files that exist")
	return cmd
}

// destOf is the last element of a path below a CID or a dataset.
func destOf(arg string) (string, error) {
	p, err := jobspec.ParsePath(arg)
	if err != nil {
		first, below, _ := strings.Cut(strings.TrimSuffix(arg, "/"), "/")
		ref, derr := jobspec.ParseDatasetRef(first)
		if derr != nil {
			return "", err
		}
		if below == "" {
			return ref.Name, nil
		}
		return path.Base(below), nil
	}
	if n := len(p.Segments); n > 0 {
		return p.Segments[n-1], nil
	}
	return p.Root.String(), nil
}

// got is the answer of ipdc get.
type got struct {
	CID   jobspec.CID `json:"cid"`
	Path  string      `json:"path"`
	Bytes int64       `json:"bytes"`
	Files int64       `json:"files"`
}

func (a *app) get(ctx context.Context, c *client.Client, path, dest string, force bool) error {
	if dest == "-" {
		list, err := c.List(ctx, path)
		if err != nil {
			return err
		}
		return a.cat(ctx, c, list.CID, list.Dir)
	}
	// A listing would read each entry, of which there may be a million.
	root, err := c.Resolve(ctx, path)
	if err != nil {
		return err
	}
	stat, err := a.download(ctx, c, root, dest, force)
	if err != nil {
		return err
	}
	res := got{CID: root, Path: dest, Bytes: stat.Bytes, Files: stat.Files}
	return a.print(res, dest, func(io.Writer) error {
		a.say("saved %s (%s, %s)", visible(dest), size(res.Bytes), count(res.Files, "file"))
		return nil
	})
}

// download unpacks a DAG as it streams in, each block checked against its CID.
func (a *app) download(ctx context.Context, c *client.Client, root jobspec.CID, dest string, force bool) (stage.Stat, error) {
	dest = filepath.Clean(dest)
	if !force {
		if err := vacant(dest); err != nil {
			return stage.Stat{}, err
		}
	}
	body, err := c.Download(ctx, root, client.FormatCAR)
	if err != nil {
		return stage.Stat{}, err
	}
	defer body.Close()
	bar := a.bytesBar("get "+filepath.Base(dest), 0)
	stat, err := stage.Dir(ctx, car.NewSource(body), root, dest, stage.Options{
		Budget:   ipfs.Budget{Bytes: unlimited, Entries: unlimited, Blocks: unlimited, Levels: 256},
		Progress: func(bytes, _ int64) { bar.set(bytes) },
		FileMode: 0o644, DirMode: 0o755, ModTime: time.Now(), File: true, Overwrite: force,
	})
	bar.done()
	return stat, err
}

// vacant refuses a destination that would be overwritten.
func vacant(dest string) error {
	info, err := os.Lstat(dest)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(dest)
		if err != nil || len(entries) == 0 {
			return err
		}
	}
	return jobspec.Failure{
		Kind: jobspec.KindConflict, Detail: fmt.Sprintf("%s exists", dest),
		Hint: "give another destination, or --force to overwrite files in it",
	}.Error()
}

func (a *app) cat(ctx context.Context, c *client.Client, root jobspec.CID, dir bool) error {
	if dir {
		return usagef("a directory cannot be written to standard output; give a destination")
	}
	body, err := c.Download(ctx, root, client.FormatRaw)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(a.out, body)
	return err
}
