package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) imagePullCmd() *cobra.Command {
	return &cobra.Command{
		Use: "pull CID|REFERENCE", Short: "Make an image local: from the archive behind a CID, or from its registry",
		Long: "Pull loads the archive that image push stored, or fetches a reference such as\n" +
			"debian:12 from its registry, without anybody's credentials. Which registries it may\n" +
			"be, and how large an image, are the node's settings registries and image-size.\n" +
			"What the node has already is not fetched again; job submit --image does the same.",
		Example: "  ipdc image pull debian:12\n  ipdc image pull bafy...",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				bar := a.bytesBar("pull "+args[0], 0)
				img, err := c.PullImage(cmd.Context(), args[0], func(done, total int64) {
					bar.total(total)
					bar.set(done)
				})
				bar.done()
				if err != nil {
					return err
				}
				return a.printLocal(img)
			})
		},
	}
}

func (a *app) printLocal(img wire.Image) error {
	return a.print(img, string(img.ID), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s %s %s\n", visible(img.Ref), img.ID, size(int64(img.Size)))
		return err
	})
}

func (a *app) imagePushCmd() *cobra.Command {
	return &cobra.Command{
		Use: "push IMAGE", Short: "Store a local image on the node and print its CID",
		Long: "Push writes an archive of the image, whose CID is the same for the same image\n" +
			"on every node, pins it, and prints the CID and nothing else. A job runs in it\n" +
			"with --image CID, here or on any node that has the CID.",
		Example: "  cid=$(ipdc image push my/tool:1)\n  ipdc job submit --image $cid -e wc -c logs",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				p, err := c.PushImage(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.print(p, p.CID.String(), func(w io.Writer) error {
					a.say("pushed %s (%s)", visible(p.Image.Ref), size(int64(p.Bytes)))
					_, err := fmt.Fprintln(w, p.CID)
					return err
				})
			})
		},
	}
}

func (a *app) imageRmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm IMAGE...", Aliases: []string{"remove"}, Short: "Take names away from images; with its last name an image goes",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				for _, ref := range args {
					img, err := c.RemoveImage(cmd.Context(), ref)
					if err != nil {
						return err
					}
					err = a.print(img, string(img.ID), func(w io.Writer) error {
						_, err := fmt.Fprintf(w, "removed %s\n", visible(img.Ref))
						return err
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
