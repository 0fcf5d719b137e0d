package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) tokenCmd() *cobra.Command {
	return group("token", "Say who may use the node's API over its port",
		a.tokenCreateCmd(), a.tokenListCmd(), a.tokenRevokeCmd())
}

func (a *app) tokenCreateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "create NAME", Short: "Make a token and print its secret, this once",
		Long: "Create makes a token for the tenant NAME and prints its secret, which the node\n" +
			"does not keep. Whoever has it submits jobs as NAME and sees the jobs of NAME only.",
		Example: "  (umask 077; ipdc token create ci > ci.token)\n" +
			"  ipdc --api http://127.0.0.1:PORT --token-file ci.token job list",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				t, err := c.CreateToken(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				a.say("token of %s; it is shown this once", t.Name)
				return a.print(t, t.Secret, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, t.Secret)
					return err
				})
			})
		},
	}
}

func (a *app) tokenListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tokens", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				list, err := c.Tokens(cmd.Context())
				if err != nil {
					return err
				}
				return a.printTokens(list)
			})
		},
	}
}

func (a *app) printTokens(list []wire.Token) error {
	if a.format == formatName {
		for _, t := range list {
			fmt.Fprintln(a.out, t.Name)
		}
		return nil
	}
	return a.print(wire.TokenList{Tokens: list}, "", func(w io.Writer) error {
		rows := [][]string{{"NAME", "CREATED", ""}}
		for _, t := range list {
			note := ""
			if t.Name == api.TenantLocal {
				note = "the node's own user: file token in the state directory"
			}
			rows = append(rows, []string{t.Name, t.Created.Format(time.RFC3339), note})
		}
		return table(w, rows)
	})
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "Revoke a token at once; its jobs stay", Args: usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeToken,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client.Client) error {
				if err := c.RevokeToken(cmd.Context(), args[0]); err != nil {
					return err
				}
				return a.print(map[string]string{"name": args[0]}, args[0], nothing)
			})
		},
	}
}

func (a *app) completeToken(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		_ = a.withClient(func(c *client.Client) error { // without a node there is nothing to offer
			list, err := c.Tokens(cmd.Context())
			for _, t := range list {
				names = append(names, t.Name)
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
