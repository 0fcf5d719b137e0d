package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/images"
	imagesdocker "github.com/ipdc/ipdc/images/docker"
	"github.com/ipdc/ipdc/images/stock"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/pip"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) imageCmd() *cobra.Command {
	return group("image", "Build stock images, and share images by CID",
		a.imageBuildCmd(), a.imageListCmd(), a.imagePullCmd(), a.imagePushCmd(), a.imageRmCmd())
}

// engineImages opens the engine's image store; no node is needed.
func (a *app) engineImages(ctx context.Context) (*imagesdocker.Store, error) {
	return imagesdocker.Open(ctx, imagesdocker.Config{Host: a.set.Docker})
}

func (a *app) imageBuildCmd() *cobra.Command {
	var cache string
	cmd := &cobra.Command{
		Use: "build [NAME...]", Short: "Build stock images from Debian's packages and load them into the engine",
		Long: "Build makes stock images and loads them: without a NAME " + strings.Join(usualImages(), " and ") + ", not those\n" +
			"that one command needs (crawler for ipdc cl crawl, tensorflow for ipdc tf). It needs\n" +
			"root, mmdebstrap and Debian's package archive, for tensorflow also a package index;\n" +
			"no image registry. What is built already is not built again.",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = usualImages()
			}
			st, err := a.engineImages(cmd.Context())
			if err != nil {
				return err
			}
			defer st.Close()
			for _, name := range names {
				if err := a.buildImage(cmd.Context(), st, name, cache); err != nil {
					return err
				}
			}
			return nil
		},
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	cmd.Flags().StringVar(&cache, "cache", filepath.Join(dir, "ipdc", "images"), "directory of built archives")
	return cmd
}

// usualImages are the stock images that jobs are likely to ask for.
func usualImages() (names []string) {
	for _, r := range images.Stock() {
		if !r.OnDemand {
			names = append(names, r.Name)
		}
	}
	return names
}

func (a *app) buildImage(ctx context.Context, st *imagesdocker.Store, name, cache string) error {
	r, ok := images.StockRecipe(name)
	if ok {
		if img, err := st.Resolve(ctx, name); err == nil {
			return a.printImage(img)
		}
	}
	path, id, err := stock.Build(ctx, stock.Config{
		Name: name, Out: cache, Progress: func(line string) { a.say("%s: %s", name, line) },
		Index: cmp.Or(a.set.Index, os.Getenv(pip.EnvIndex)), CAFile: (&node{set: a.set}).authorities(),
	})
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	a.say("%s: loading it into the engine", name)
	got, err := st.Load(ctx, f, r.Tag())
	if err != nil {
		return err
	}
	if got != id {
		return fmt.Errorf("the engine made %s of an image that is %s", got, id)
	}
	img, err := st.Resolve(ctx, name)
	if err != nil {
		return err
	}
	return a.printImage(img)
}

func (a *app) printImage(img images.Image) error { return a.printLocal(wireImage(img)) }

func wireImage(img images.Image) wire.Image {
	return wire.Image{ID: img.ID, Ref: img.Ref, Arch: img.Arch, Size: jobspec.Bytes(img.Size)}
}

func (a *app) imageListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the stock images that the engine has, and those known by a CID", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.engineImages(cmd.Context())
			if err != nil {
				return err
			}
			defer st.Close()
			list, err := st.List(cmd.Context())
			if err != nil {
				return err
			}
			if a.format == formatName {
				for _, img := range list {
					fmt.Fprintln(a.out, img.Ref)
				}
				return nil
			}
			answer := []wire.Image{}
			for _, img := range list {
				answer = append(answer, wireImage(img))
			}
			return a.print(answer, "", func(w io.Writer) error {
				rows := [][]string{{"IMAGE", "ID", "ARCH", "SIZE"}}
				for _, img := range list {
					rows = append(rows, []string{img.Ref, string(img.ID), img.Arch, size(img.Size)})
				}
				return table(w, rows)
			})
		},
	}
}
