package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *app) lsCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "ls CID[/PATH]|NAME[@VERSION][/PATH]",
		Short:   "List a directory",
		Example: "  ipdc ls bafy...\n  ipdc ls bafy.../2024 -o json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.List(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(list, list.CID.String(), func(w io.Writer) error {
				var rows [][]string
				if !list.Dir {
					rows = append(rows, []string{list.CID.String(), strconv.FormatInt(list.Size, 10), args[0]})
				}
				for _, e := range list.Entries {
					name, n := e.Name, strconv.FormatInt(e.Size, 10)
					if e.Dir {
						name, n = name+"/", "-"
					}
					rows = append(rows, []string{e.CID.String(), n, name})
				}
				return table(w, rows)
			})
		},
	}
}
