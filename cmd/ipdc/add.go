package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) addCmd() *cobra.Command {
	var onlyHash bool
	var nodes int
	cmd := &cobra.Command{
		Use:   "add PATH... | -",
		Short: "Add files and directories and print their CIDs",
		Long: "Add stores files, directories, or standard input (-) on the node and pins them.\n" +
			"CIDs are those of `ipfs add` with Kubo's profile unixfs-v1-2025.",
		Example: "  ipdc add pictures\n  cid=$(ipdc add -q pictures)\n  tar c . | ipdc add -",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, path := range args {
				if err := a.add(cmd.Context(), path, onlyHash, nodes); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&onlyHash, "only-hash", "n", false, "print the CID without storing anything; needs no node")
	addReplicate(cmd, &nodes)
	cmd.MarkFlagsMutuallyExclusive("only-hash", "replicate")
	cmd.Flags().BoolP("recursive", "r", true, "directories are always added with all that is in them")
	_ = cmd.Flags().MarkHidden("recursive") // kept for those who type `ipfs add -r`
	return cmd
}

// added is the answer of ipdc add.
type added struct {
	CID   jobspec.CID `json:"cid"`
	Path  string      `json:"path"`
	Bytes int64       `json:"bytes"` // of file content
	Files int64       `json:"entries"`
}

func (a *app) add(ctx context.Context, path string, onlyHash bool, nodes int) error {
	var res added
	var err error
	if onlyHash {
		res, err = a.hash(ctx, path)
	} else {
		res, err = a.upload(ctx, path, "")
	}
	if err == nil && nodes > 0 {
		err = a.withClient(func(c *client.Client) error {
			_, err := a.pinOn(ctx, c, res.CID.String(), nodes)
			return err
		})
	}
	if err != nil {
		return err
	}
	return a.print(res, res.CID.String(), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "added %s %s\n", res.CID, visible(path))
		return err
	})
}

// hash computes the CID of what stands at path and stores nothing.
func (a *app) hash(ctx context.Context, path string) (added, error) {
	return a.pack(ctx, car.NewWriter(io.Discard), path, 0)
}

// upload adds what stands at path to the node, as send.
func (a *app) upload(ctx context.Context, path, hold string) (added, error) {
	total := int64(0)
	if path != "-" && tty(a.err) {
		total = diskUse(path)
	}
	c, err := a.client()
	if err != nil {
		return added{}, err
	}
	defer c.Close()
	var res added
	err = a.send(ctx, c, hold, func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) {
		var err error
		res, err = a.pack(ctx, s, path, total)
		return res.CID, err
	})
	return res, err
}

// send streams the blocks that fill puts to the node, which stores and pins
// the DAG below the root that fill returns, or holds it.
func (a *app) send(ctx context.Context, c *client.Client, hold string, fill func(context.Context, ipfs.Session) (jobspec.CID, error)) error {
	stream := newPipe()
	g, ctx := errgroup.WithContext(ctx)
	var root jobspec.CID
	g.Go(func() error {
		var err error
		root, err = fill(ctx, car.NewWriter(stream))
		stream.finish(err)
		if errors.Is(err, io.ErrClosedPipe) {
			return nil // the node answered before the end: it says why
		}
		return err
	})
	var got jobspec.CID
	g.Go(func() error {
		res, err := c.UploadHeld(ctx, stream, true, hold)
		got = res.CID
		return errors.Join(err, stream.Close())
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if got != root {
		return jobspec.KindBlockHash.Errorf("the node stored %s, but the data is %s", got, root)
	}
	return nil
}

// pack makes the DAG of a file, a directory or standard input.
func (a *app) pack(ctx context.Context, s ipfs.Session, path string, total int64) (added, error) {
	if path == "-" {
		root, n, err := pack.File(ctx, s, a.in)
		return added{CID: root, Path: "-", Bytes: n, Files: 1}, err
	}
	if _, err := os.Stat(path); err != nil {
		return added{}, jobspec.Failure{Kind: jobspec.KindNotFound, Detail: err.Error()}.Error()
	}
	bar := a.bytesBar("add "+filepath.Base(path), total)
	res, err := pack.Tree(ctx, s, path, pack.Options{Progress: bar.set, Budget: ipfs.Budget{Bytes: unlimited, Entries: unlimited, Levels: 256}})
	bar.done()
	return added{CID: res.CID, Path: path, Bytes: res.Bytes, Files: res.Entries}, err
}

// unlimited is the budget for the user's own files.
const unlimited = 1 << 60

// diskUse is the apparent size of all files below path, for the progress bar.
func diskUse(path string) (n int64) {
	_ = filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // packing will say what is wrong
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
