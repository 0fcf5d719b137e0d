package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) datasetCreateCmd() *cobra.Command {
	var q wire.DatasetWish
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a dataset",
		Long: "Create makes a dataset with its first version, which is empty, or has the entries of\n" +
			"a directory. A name is 1 to 63 of a-z, 0-9, '-' and '_', and begins with a letter.",
		Example: "  ipdc dataset create logs\n  ipdc dataset create photos --from bafy.../2024 --keep 30\n" +
			"  ipdc dataset create photos --from photos/",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Name = args[0]
			if len(args) > 1 {
				return usagef("%q has no place here; the entries of a directory come by --from %s, others by: ipdc dataset append %s %s", args[1], args[1], q.Name, args[1])
			}
			if err := jobspec.CheckDatasetName(q.Name); err != nil {
				return err
			}
			if q.Keep < 0 {
				return usagef("--keep %d: want a number of versions, or 0 for all", q.Keep)
			}
			return a.withClient(func(c *client.Client) error { return a.datasetCreate(cmd.Context(), c, q) })
		},
	}
	cmd.Flags().StringVar(&q.From, "from", "", "CID or CID/path of a directory, or a local one, whose entries are the first version's")
	cmd.Flags().IntVar(&q.Keep, "keep", 0, "versions whose content is kept, the newest included (default all of them)")
	return cmd
}

// datasetCreate sends what is local, unless the dataset would be refused with it,
// and makes the dataset.
func (a *app) datasetCreate(ctx context.Context, c *client.Client, q wire.DatasetWish) error {
	if _, err := jobspec.ParsePath(q.From); err != nil && q.From != "" {
		sent, err := a.placeFrom(ctx, c, &q)
		defer func() { a.letGo(ctx, c, sent) }()
		if err != nil {
			return err
		}
	}
	d, err := c.CreateDataset(ctx, q)
	if err != nil {
		return err
	}
	return a.printVersion(d)
}

// placeFrom stores the local directory that a new dataset is to have the entries
// of, and returns what was sent.
func (a *app) placeFrom(ctx context.Context, c *client.Client, q *wire.DatasetWish) (sent jobspec.CID, err error) {
	if info, err := os.Stat(q.From); err != nil || !info.IsDir() && !strings.HasSuffix(q.From, ".car") {
		return sent, usagef("--from %q is neither a CID nor a folder that exists here", q.From)
	}
	switch d, err := c.Dataset(ctx, jobspec.DatasetRef{Name: q.Name}); {
	case err == nil:
		return sent, jobspec.Failure{
			Kind: jobspec.KindConflict, Detail: fmt.Sprintf("there is a dataset %q already, of %s", d.Name, ownerOf(d)),
			Hint: "append to it, or give another name: ipdc dataset show " + d.Name,
		}.Error()
	case errors.Is(err, jobspec.KindSignature.Error()): // who lies takes no names
	case !errors.Is(err, jobspec.KindNotFound.Error()):
		return sent, err
	}
	if q.From, err = filepath.Abs(q.From); err != nil { // . has no name to be called by
		return sent, err
	}
	e, sent, err := a.entry(ctx, c, q.From)
	q.From = e.Path
	return sent, err
}

// letGo takes off the pins of what was sent for a dataset: it keeps that from now
// on, or has refused it. A pin that stays is told of and no more, as all else is
// done.
func (a *app) letGo(ctx context.Context, c *client.Client, sent ...jobspec.CID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, root := range sent {
		if !root.Defined() {
			continue
		}
		if err := c.Unpin(ctx, root); err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) {
			a.say("warning: what was sent stays pinned: %v; to let go of it: ipdc pin rm %s", err, root)
		}
	}
}
