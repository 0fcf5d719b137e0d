package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/jobspec"
)

func (a *app) domainJoinCmd() *cobra.Command {
	return &cobra.Command{
		Use: "join TOKEN|FILE|-", Short: "Join the domain that an invitation leads to",
		Long: "Join asks the member that made the invitation to let this node in, and puts the\n" +
			"node into its domain. After any failure the same invitation can be tried again on\n" +
			"the same node. TOKEN may also stand in a file or come from standard input. An\n" +
			"ipdc.conf of 2018 is read and explained: its name admits nobody any more.",
		Example: "  ipdc domain join ipdc-join-...\n  ssh other ipdc domain invite | ipdc domain join -",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.tokenText(args[0])
			if err != nil {
				return err
			}
			t, err := domain.ParseToken(text)
			if err != nil {
				return usageError{err}
			}
			return a.join(cmd.Context(), t)
		},
	}
}

// tokenText is a token from the command line, a file or standard input. A file
// of 2018 is explained in an error.
func (a *app) tokenText(arg string) (string, error) {
	if arg == "-" {
		b, err := io.ReadAll(io.LimitReader(a.in, 1<<16))
		return string(b), err
	}
	b, err := readUpTo(arg, 1<<17)
	if err != nil {
		return arg, nil // no file: the token itself
	}
	if strings.HasPrefix(strings.TrimSpace(string(b)), "ipdc-join-") {
		return string(b), nil
	}
	l, err := domain.ParseLegacy(b)
	if err != nil {
		return "", usageError{err}
	}
	return "", jobspec.Failure{
		Kind: jobspec.KindPNet, Where: arg, Detail: "this file of 2018 names the domain " + l.Domain.String() + " and no secret.\n" + l.Note(),
		Hint: fmt.Sprintf("on the first node: ipdc domain create %s, then ipdc domain invite; here: ipdc domain join TOKEN", l.Domain),
	}.Error()
}

func readUpTo(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func (a *app) join(ctx context.Context, t domain.Token) error {
	files, key, err := a.local()
	if err != nil {
		return err
	}
	if err := files.MayJoin(t); err != nil {
		return err
	}
	var m domain.Membership
	err = atDoor(ctx, t.Domain(), t.DoorPSK(), key, t.Issuer, t.Addrs, func(s io.ReadWriteCloser) (err error) {
		m, err = domain.Join(ctx, files, key.ID(), t, t.Issuer, s, time.Now())
		return err
	})
	if err != nil {
		return err
	}
	a.say("this node is a member of %s now", m.Name)
	if err := a.taken(ctx, m); err != nil {
		return err
	}
	return a.printMembership(m)
}

func (a *app) domainRefreshCmd() *cobra.Command {
	return &cobra.Command{
		Use: "refresh", Short: "Ask a member for the domain's newest secret and list",
		Long: "Refresh is for a node that was away while somebody was revoked: it shows its\n" +
			"certificate at the doors that it knows, and gets the newest secret, and a new\n" +
			"certificate when the old one ends soon.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, key, err := a.local()
			if err != nil {
				return err
			}
			m, changed, err := refresh(cmd.Context(), files, key)
			if err != nil {
				return err
			}
			if changed {
				a.sayTaken()
			}
			return a.printMembership(m)
		},
	}
}

// refresh asks at all doors that are known.
func refresh(ctx context.Context, files domain.Files, key identity.Key) (m domain.Membership, changed bool, err error) {
	if m, err = files.Load(); err != nil {
		return m, false, err
	}
	at := func(ctx context.Context, member identity.ID, addrs []domain.Addr, talk func(io.ReadWriteCloser) error) error {
		return atDoor(ctx, m.ID(), m.DoorPSK(), key, member, addrs, talk)
	}
	return domain.RefreshAll(ctx, files, at, time.Now)
}

// atDoor opens a stream to a member's door and gives it to talk.
func atDoor(ctx context.Context, id domain.ID, psk domain.Secret, key identity.Key, member identity.ID, addrs []domain.Addr, talk func(io.ReadWriteCloser) error) error {
	h, err := p2phost.Open(ctx, p2phost.Config{Domain: id.String(), Key: key, PSK: psk, Door: true, Listen: []string{}})
	if err != nil {
		return err
	}
	texts := make([]string, len(addrs))
	for i, addr := range addrs {
		texts[i] = string(addr)
	}
	s, err := h.Ask(ctx, member, texts, domain.Protocol)
	if err == nil {
		err = talk(s)
	} else {
		err = fmt.Errorf("%w\nhint: look whether that node runs (ipdc node status) and can be reached from here; an invitation can name other addresses: ipdc domain invite --addr", err)
	}
	return errors.Join(err, h.Close())
}
