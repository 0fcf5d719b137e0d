package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) domainCmd() *cobra.Command {
	return group("domain", "Say who belongs to this node's private network",
		a.domainShowCmd(), a.domainCreateCmd(), a.domainInviteCmd(), a.domainJoinCmd(), a.domainRefreshCmd(), a.domainRevokeCmd(), a.domainLeaveCmd(), a.domainACLCmd())
}

// local is the node's domain and key in the state directory of this machine.
// The directory and the key come to be when they are not there.
func (a *app) local() (domain.Files, identity.Key, error) {
	if a.set.API != "" {
		return domain.Files{}, identity.Key{}, usagef("domain commands work on the state directory (--path) of this machine, not over --api")
	}
	if err := os.MkdirAll(a.set.Path, 0o700); err != nil {
		return domain.Files{}, identity.Key{}, fmt.Errorf("make state directory: %w", err)
	}
	key, err := identity.LoadOrCreate(filepath.Join(a.set.Path, "identity.key"))
	return domain.Files{Dir: a.set.Path}, key, err
}

// membership is what `domain show` prints.
type membership struct {
	Name       domain.Name  `json:"name"`
	ID         domain.ID    `json:"id"`
	Generation uint64       `json:"generation"`
	Admin      identity.ID  `json:"admin"`
	Node       identity.ID  `json:"node"`
	Role       domain.Role  `json:"role"`
	AdminKey   bool         `json:"admin_key"` // whether the domain's admin key is on this node
	Until      time.Time    `json:"until"`
	Revoked    []revocation `json:"revoked"`
	Doors      []string     `json:"doors"`
}

type revocation struct {
	ID identity.ID `json:"id"`
	At time.Time   `json:"at"`
}

func showMembership(m domain.Membership) membership {
	v := membership{
		Name: m.Name, ID: m.ID(), Generation: m.List.Generation, Admin: m.Admin, Node: m.Node, Role: m.Certificate.Role,
		AdminKey: m.IsAdmin, Until: m.Certificate.NotAfter.UTC(), Revoked: []revocation{}, Doors: []string{},
	}
	for _, r := range m.List.Revoked {
		v.Revoked = append(v.Revoked, revocation{r.ID, r.At.UTC()})
	}
	for _, d := range m.Doors {
		v.Doors = append(v.Doors, string(d))
	}
	return v
}

func (a *app) printMembership(m domain.Membership) error {
	v := showMembership(m)
	return a.print(v, v.ID.String(), func(w io.Writer) error {
		rows := [][]string{
			{"Domain:", v.Name.String()},
			{"Id:", v.ID.String()},
			{"Generation:", fmt.Sprintf("%d of its secret", v.Generation)},
			{"Node:", v.Node.String()},
			{"Role:", roleText(v)},
			{"Member until:", v.Until.Format(time.RFC3339)},
			{"Admin key:", v.Admin.String()},
		}
		for _, d := range v.Doors {
			rows = append(rows, []string{"Door:", d})
		}
		for _, r := range v.Revoked {
			rows = append(rows, []string{"Revoked:", r.ID.String() + ", " + r.At.Format(time.RFC3339)})
		}
		return table(w, rows)
	})
}

func roleText(v membership) string {
	switch {
	case v.AdminKey:
		return "admin, with the domain's key: may invite members and admins, and revoke"
	case v.Role == domain.RoleAdmin:
		return "admin: may invite members"
	}
	return string(v.Role)
}

func (a *app) domainShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the domain that this node is in", Args: usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			m, err := a.ownDomain()
			if err != nil {
				return err
			}
			return a.printMembership(m)
		},
	}
}

// ownDomain is the domain of this node, which must be in one.
func (a *app) ownDomain() (domain.Membership, error) {
	if a.set.API != "" {
		return domain.Membership{}, usagef("%s works on the state directory (--path) of this machine, not over --api", a.cmd.CommandPath())
	}
	m, err := domain.Files{Dir: a.set.Path}.Load()
	if errors.Is(err, domain.ErrNone) {
		err = jobspec.Failure{Kind: jobspec.KindNotFound, Detail: err.Error(), Hint: "ipdc node start -d, or name one: ipdc domain create NAME"}.Error()
	}
	return m, err
}

func (a *app) domainCreateCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a domain and put this node into it",
		Long: "Create makes a domain: a secret, and an admin key that says who belongs to it.\n" +
			"The key is kept on this node only, so make a backup of the state directory. NAME\n" +
			"is written as host names are; it admits nobody, see ipdc domain invite. A node is\n" +
			"born in a domain of its own, named after the host, so that this is only needed\n" +
			"for another name.",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := domain.ParseName(args[0])
			if err != nil {
				return usageError{err}
			}
			files, key, err := a.local()
			if err != nil {
				return err
			}
			m, err := files.Create(name, key.ID(), force, time.Now())
			if err != nil {
				return err
			}
			if err := a.taken(cmd.Context(), m); err != nil {
				return err
			}
			return a.printMembership(m)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when this leaves a domain, or its members, behind")
	return cmd
}

func (a *app) domainLeaveCmd() *cobra.Command {
	var force bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "leave", Short: "Leave the domain for one of this node's own",
		Long: "Leave removes the domain's secret and this node's certificate, and puts the node\n" +
			"into a new domain of its own. An admin key that lies here is kept. A running node\n" +
			"drains first (see ipdc node drain), and hands over for good: each pin of a user and\n" +
			"each result becomes a pin of another member's user.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, key, err := a.local()
			if err != nil {
				return err
			}
			if !force {
				if err := a.handOver(cmd.Context(), timeout); err != nil {
					return err
				}
			}
			m, err := files.Leave(key.ID(), hostName(), force, time.Now())
			if err != nil {
				a.stay(cmd.Context())
				return err
			}
			if err := a.taken(cmd.Context(), m); err != nil {
				return err
			}
			return a.printMembership(m)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "at once, without a hand-over, and also when members are left behind whom only this node can revoke")
	cmd.Flags().DurationVar(&timeout, "timeout", drainTimeout, "time for tasks of others' jobs to end, then they are given back")
	return cmd
}

func (a *app) domainRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke PEER...", Short: "Take nodes out of the domain and change its secret",
		Long: "Revoke signs a new list of who was taken out, and makes a new secret. A running\n" +
			"node drops who is on the list at once, and hands list and secret to the members\n" +
			"that are connected, which do the same. A member that sleeps asks at a door when\n" +
			"it is back, and a revoked one is refused there. Who was let in by a revoked admin\n" +
			"is out with it. It takes the domain's admin key. A Kubo that was made private gets\n" +
			"the new key by another ipdc ipfs private.",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			var ids []identity.ID
			for _, s := range args {
				id, err := identity.ParseID(s)
				if err != nil {
					return usageError{err}
				}
				ids = append(ids, id)
			}
			files, _, err := a.local()
			if err != nil {
				return err
			}
			m, err := files.Revoke(time.Now(), ids...)
			if err != nil {
				return err
			}
			a.sayTaken()
			return a.printMembership(m)
		},
	}
}

// takeWait is how long a running node may take to be in another domain, on a
// machine that is busy.
const takeWait = time.Minute

// taken waits until a running node is in the domain too, so that the next
// command finds it there.
func (a *app) taken(ctx context.Context, m domain.Membership) error {
	if !a.running() {
		return nil
	}
	c, err := client.New("unix://" + a.set.socket())
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, takeWait)
	defer cancel()
	for tick := time.Tick(50 * time.Millisecond); ; {
		if n, err := c.Node(ctx); err == nil && n.DomainID == m.ID().String() {
			a.say("the running node is in %s now; its jobs go on", m.Name)
			return nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return fmt.Errorf("the node has joined %s on disk, but the running process has not taken that up within %s; see its log, %s", m.Name, takeWait, a.set.LogFile)
		}
	}
}

// running says whether a node runs on this state directory.
func (a *app) running() bool {
	lock, err := lockState(a.set.Path)
	if err == nil {
		lock.Close()
	}
	return err != nil
}

// sayTaken tells that a running node takes up what has changed.
func (a *app) sayTaken() {
	if a.running() {
		a.say("the running node takes this up by itself, in a moment; its jobs go on")
	}
}

// hostName is the host's name, or "".
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
