package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) datasetCmd() *cobra.Command {
	return group("dataset", "Name data that grows, version by version", a.datasetCreateCmd(), a.datasetAppendCmd(), a.datasetListCmd(),
		a.datasetShowCmd(), a.datasetHeadCmd(), a.datasetDiffCmd(), a.datasetRunsCmd(), a.datasetRmCmd())
}

// printVersion prints NAME@VERSION and the CID of its content.
func (a *app) printVersion(d wire.Dataset) error {
	ref := jobspec.DatasetRef{Name: d.Name, Version: d.Version}.String()
	return a.print(d, ref, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, ref, d.Root)
		return err
	})
}

func (a *app) datasetListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List datasets, those of the domain's members too",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				list, err := c.Datasets(cmd.Context())
				if err != nil {
					return err
				}
				if a.format == formatName {
					for _, d := range list.Datasets {
						fmt.Fprintln(a.out, d.Name)
					}
					return nil
				}
				return a.print(list, "", func(w io.Writer) error {
					rows := [][]string{{"NAME", "VERSION", "ENTRIES", "CHANGED", "CID", "OWNER"}}
					for _, d := range list.Datasets {
						rows = append(rows, []string{d.Name, strconv.Itoa(d.Version), strconv.Itoa(d.Entries), ago(d.Time), d.Root.String(), ownerOf(d)})
					}
					return table(w, rows)
				})
			})
		},
	}
}

func ownerOf(d wire.Dataset) string {
	if d.Mine {
		return "this node"
	}
	return d.Owner
}

func (a *app) datasetShowCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME[@VERSION]", Short: "Describe a dataset and its last versions"}
	return a.ofDataset(cmd, func(d wire.Dataset) error {
		return a.print(d, d.Name, func(w io.Writer) error { return showDataset(w, d) })
	})
}

func showDataset(w io.Writer, d wire.Dataset) error {
	keep := "all versions"
	if d.Keep > 0 {
		keep = count(int64(d.Keep), "version")
	}
	rows := [][]string{
		{"Name:", d.Name}, {"Owner:", ownerOf(d)}, {"Version:", strconv.Itoa(d.Version)}, {"CID:", d.Root.String()},
		{"Head:", d.Head.String()}, {"Entries:", strconv.Itoa(d.Entries)}, {"Changed:", ago(d.Time)},
	}
	if d.Mine {
		rows = append(rows, []string{"Keeps:", keep})
	}
	if err := table(w, rows); err != nil || len(d.Versions) == 0 {
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"VERSION", "CHANGED", "ENTRIES", "ADDED", "REPLACED", "REMOVED", "KEPT", "CID"}}
	for _, v := range d.Versions {
		kept := "yes"
		if !v.Kept {
			kept = "no"
		}
		rows = append(rows, []string{strconv.Itoa(v.Version), ago(v.Time), strconv.Itoa(v.Entries), strconv.Itoa(v.Added), strconv.Itoa(v.Replaced), strconv.Itoa(v.Removed), kept, v.Root.String()})
	}
	return table(w, rows)
}

func (a *app) datasetHeadCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "head NAME[@VERSION]", Short: "Print the CID of a dataset's content"}
	return a.ofDataset(cmd, func(d wire.Dataset) error {
		return a.print(d.DatasetVersion, d.Root.String(), func(w io.Writer) error {
			_, err := fmt.Fprintln(w, d.Root)
			return err
		})
	})
}

// ofDataset makes a command that shows something of one version of a dataset.
func (a *app) ofDataset(cmd *cobra.Command, show func(wire.Dataset) error) *cobra.Command {
	cmd.Args = usageArgs(cobra.ExactArgs(1))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withDataset(args[0], func(c *client.Client, ref jobspec.DatasetRef) error {
			d, err := c.Dataset(cmd.Context(), ref)
			if err != nil {
				return err
			}
			return show(d)
		})
	}
	return cmd
}

func (a *app) datasetDiffCmd() *cobra.Command {
	return &cobra.Command{
		Use: "diff NAME[@VERSION] [NAME[@VERSION]]", Short: "List the entries that two versions do not have alike",
		Long: "Diff lists what was added (+), removed (-) and replaced (~) from one version to\n" +
			"another: of NAME, from the version before the newest; of NAME@N, from the one before\n" +
			"it; of NAME@N NAME or NAME@N NAME@M, from the first to the second.",
		Example: "  ipdc dataset diff logs\n  ipdc dataset diff logs@3 logs@7",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDataset(args[0], func(c *client.Client, from jobspec.DatasetRef) error {
				to := from
				from.Version = 0
				if len(args) == 2 {
					var err error
					if from, to.Version = to, 0; from.Version == 0 {
						return usagef("give the version to compare from: %s@N", from.Name)
					}
					if to, err = jobspec.ParseDatasetRef(args[1]); err != nil {
						return err
					}
					if to.Name != from.Name {
						return usagef("%s and %s are two datasets: compare versions of one", from.Name, to.Name)
					}
				}
				d, err := c.DiffDataset(cmd.Context(), to.Name, from.Version, to.Version)
				if err != nil {
					return err
				}
				return a.print(d, to.Name, func(w io.Writer) error { return showDiff(w, d) })
			})
		},
	}
}

func showDiff(w io.Writer, d wire.DatasetDiff) error {
	for _, c := range d.Changes {
		sign, id := "~", c.New
		switch {
		case !c.Old.Defined():
			sign = "+"
		case !c.New.Defined():
			sign, id = "-", c.Old
		}
		if _, err := fmt.Fprintln(w, sign, visible(c.Name), id); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) datasetRmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Aliases: []string{"remove"}, Short: "Forget datasets with all their versions; what nothing else pins goes with the next garbage collection",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				for _, name := range args {
					if err := jobspec.CheckDatasetName(name); err != nil {
						return err
					}
					if err := c.RemoveDataset(cmd.Context(), name); err != nil {
						return err
					}
					a.say("removed %s", name)
				}
				return nil
			})
		},
	}
}

// withDataset reads the name of a dataset and calls f.
func (a *app) withDataset(arg string, f func(*client.Client, jobspec.DatasetRef) error) error {
	ref, err := jobspec.ParseDatasetRef(arg)
	if err != nil {
		return err
	}
	return a.withClient(func(c *client.Client) error { return f(c, ref) })
}

// datasetNames completes the names of datasets.
func (a *app) datasetNames(n int) cobra.CompletionFunc {
	return a.ask(n, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		list, err := c.Datasets(ctx)
		var out []cobra.Completion
		for _, d := range list.Datasets {
			out = append(out, fmt.Sprintf("%s\tversion %d, %s", d.Name, d.Version, ago(d.Time)))
		}
		return out, err
	})
}
