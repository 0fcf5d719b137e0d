package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) domainInviteCmd() *cobra.Command {
	var expires string
	var admin bool
	var addrs []string
	cmd := &cobra.Command{
		Use: "invite", Short: "Make an invitation for one node and print it",
		Long: "Invite prints a token that lets one node into the domain, once and until it\n" +
			"expires: ipdc domain join TOKEN. Whoever has it first may use it, so hand it on as\n" +
			"you would a password. The newcomer asks at the door of this node, at the addresses\n" +
			"in the token. A running node opens it for as long as an invitation holds, and for\n" +
			"good once somebody was let in; before that nothing listens there.",
		Example: "  ipdc domain invite\n  ipdc domain invite --expires 1h --addr /dns4/node.example.org/tcp/4102",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := domain.InviteOptions{}
			var d jobspec.Duration
			if err := setting("expires", expires, &d); err != nil {
				return err
			}
			o.Expires = d.Std()
			if admin {
				o.Role = domain.RoleAdmin
			}
			for _, s := range addrs {
				addr, err := domain.ParseAddr(s)
				if err != nil {
					return usageError{err}
				}
				o.Addrs = append(o.Addrs, addr)
			}
			return a.invite(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "", "how long the invitation holds (default 24h, at most 30d)")
	cmd.Flags().BoolVar(&admin, "admin", false, "let the newcomer invite members too")
	cmd.Flags().StringArrayVar(&addrs, "addr", nil, "where this node's door is reached, in place of its own addresses; may be repeated")
	return cmd
}

func (a *app) invite(ctx context.Context, o domain.InviteOptions) error {
	files, key, err := a.local()
	if err != nil {
		return err
	}
	if len(o.Addrs) == 0 {
		if o.Addrs, err = doorAddrs(a.set.Path); err != nil {
			return err
		}
	}
	t, err := files.Invite(key, o, time.Now())
	if err != nil {
		return err
	}
	a.say("lets one node into %s until %s; it runs: ipdc domain join TOKEN", t.Name, t.Expiry.Format(time.RFC3339))
	if lock, err := lockState(a.set.Path); err == nil {
		lock.Close()
		a.say("this node does not run now, and its door is shut until it does: ipdc node start -d")
	} else if !awaitDoor(ctx, a.set.Path) {
		a.say("the door of this node has not opened in %s; its log says why", doorWait)
	}
	v := struct {
		Token  string        `json:"token"`
		Domain domain.Name   `json:"domain"`
		ID     domain.ID     `json:"id"`
		Issuer identity.ID   `json:"issuer"`
		Addrs  []domain.Addr `json:"addrs"`
		Expiry time.Time     `json:"expiry"`
	}{t.Text(), t.Name, t.Domain(), t.Issuer, t.Addrs, t.Expiry}
	return a.print(v, t.Text(), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, t.Text())
		return err
	})
}
