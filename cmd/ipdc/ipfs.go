package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/ipfs/kubo/repo"
)

func (a *app) ipfsCmd() *cobra.Command {
	return group("ipfs", "Manage a Kubo of yours", a.ipfsPrivateCmd())
}

func (a *app) ipfsPrivateCmd() *cobra.Command {
	var dry, undo bool
	cmd := &cobra.Command{
		Use: "private REPO", Short: "Make a Kubo private to this node's domain",
		Long: "Private changes the configuration of the Kubo whose directory is REPO, so that it\n" +
			"speaks to nobody but Kubos of the same domain that were made private too: it gets\n" +
			"a swarm.key, and bootstrap peers, AutoConf, AutoTLS, websockets, routing, mDNS,\n" +
			"announcements and the rest that asks somebody outside are turned off. That Kubo\n" +
			"must not run. What was there is kept beside it, for --undo.\n\n" +
			"The key is derived from the domain's secret, so all members get the same. After\n" +
			"ipdc domain revoke run this again for each Kubo: who was revoked knows the old key.\n" +
			"A node needs none of this: beside a Kubo it leaves its configuration alone.",
		Example: "  ipdc ipfs private ~/.ipfs --dry-run\n  ipdc ipfs private ~/.ipfs && LIBP2P_FORCE_PNET=1 ipfs daemon",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			r, err := repo.Open(dir)
			if err != nil {
				return err
			}
			var changes []repo.Change
			if undo {
				changes, err = r.Undo(dry)
			} else {
				changes, err = a.makePrivate(r, dry)
			}
			if err != nil {
				return err
			}
			return a.printChanges(dir, changes, dry, undo)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would change, and change nothing")
	cmd.Flags().BoolVar(&undo, "undo", false, "set back what this command has changed")
	return cmd
}

func (a *app) makePrivate(r *repo.Repo, dry bool) ([]repo.Change, error) {
	m, err := a.ownDomain()
	if err != nil {
		return nil, err
	}
	return r.Private(m.KuboPSK(), dry)
}

func (a *app) printChanges(dir string, changes []repo.Change, dry, undo bool) error {
	switch {
	case dry && len(changes) > 0:
		a.say("nothing was changed; without --dry-run %d things would be", len(changes))
	case undo:
		a.say("what ipdc had changed in this Kubo is set back")
	case len(changes) == 0:
		a.say("this Kubo is private already")
	default:
		a.say("start it with LIBP2P_FORCE_PNET=1, so that it never runs without its key; what was there is kept for --undo")
	}
	v := struct {
		Repo    string        `json:"repo"`
		DryRun  bool          `json:"dry_run"`
		Changes []repo.Change `json:"changes"`
	}{dir, dry, append([]repo.Change{}, changes...)}
	return a.print(v, dir, func(w io.Writer) error {
		if len(changes) == 0 {
			return nil
		}
		rows := [][]string{{"KEY", "FROM", "TO"}}
		for _, c := range changes {
			rows = append(rows, []string{c.Key, orNothing(c.From), orNothing(c.To)})
		}
		return table(w, rows)
	})
}

// orNothing is text for a cell of a table, cut to a length that can be read.
func orNothing(s string) string {
	const most = 48
	switch {
	case s == "":
		return "-"
	case len(s) > most:
		return fmt.Sprintf("%.*s...", most, s)
	}
	return s
}
