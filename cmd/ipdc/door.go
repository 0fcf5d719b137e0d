package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/internal/p2phost"
)

// openDoor listens for newcomers while this node may let them in and somebody
// was invited.
func (n *node) openDoor(ctx context.Context) error { return n.doorway.begin(ctx) }

// off as an address to listen on keeps others out.
const off = "off"

// listenDoor opens the door and notes where it is.
func (n *node) listenDoor(ctx context.Context, m domain.Membership) (*p2phost.Host, error) {
	return n.openKept(ctx, doorFile, n.set.DoorListen, p2phost.Config{
		Domain: m.ID().String(), Key: n.key, PSK: m.DoorPSK(), Door: true, Announce: n.set.DoorAnnounce, Logger: n.log.With("host", "door"),
	})
}

// openKept opens a host where it was the last time, so that others find it
// again; when somebody else is there now, anywhere. file remembers where.
func (n *node) openKept(ctx context.Context, file, asked string, cfg p2phost.Config) (*p2phost.Host, error) {
	if asked != "" {
		cfg.Listen = []string{asked}
	}
	kept, err := readListening(n.set.Path, file)
	if err != nil {
		return nil, err
	}
	h, err := n.openAgain(ctx, kept, asked, cfg)
	if err != nil {
		return nil, err
	}
	err = writeListening(n.set.Path, file, listening{asked, h.Listen(), reachable(h.Addrs(), n.key.ID())})
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (n *node) openAgain(ctx context.Context, kept listening, asked string, cfg p2phost.Config) (*p2phost.Host, error) {
	if asked == kept.Asked && len(kept.Listen) > 0 {
		again := cfg
		again.Listen = kept.Listen
		h, err := p2phost.Open(ctx, again)
		if err == nil {
			return h, nil
		}
		n.log.Warn("a port that others know is taken; another one is used, and what they know leads nowhere", "was", kept.Listen, "err", err)
	}
	return p2phost.Open(ctx, cfg)
}

// reachable are the addresses of a door that somebody else can use, with its
// owner's id: loopback only where there is nothing else.
func reachable(addrs []string, id identity.ID) []domain.Addr {
	var far, near []domain.Addr
	for _, s := range addrs {
		a, err := domain.ParseAddr(s)
		if err != nil {
			continue
		}
		ip, err := netip.ParseAddr(strings.Split(s, "/")[2])
		switch {
		case err == nil && ip.IsLinkLocalUnicast():
		case err == nil && ip.IsLoopback():
			near = append(near, a.At(id))
		default:
			far = append(far, a.At(id))
		}
	}
	if len(far) == 0 {
		far = near
	}
	return far[:min(len(far), domain.MaxTokenAddrs)]
}

// listening is where a host is: for the next start and, of the door, for
// invitations that another process makes.
type listening struct {
	Asked  string        `json:"asked"`  // the setting
	Listen []string      `json:"listen"` // with the ports that it got
	Addrs  []domain.Addr `json:"addrs"`  // for others
}

const doorFile = "door.json"

func readListening(dir, file string) (r listening, err error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		err = fmt.Errorf("read where this node listens: %w; remove %s", err, filepath.Join(dir, file))
	}
	return r, err
}

func writeListening(dir, file string, r listening) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, file), b, 0o600)
}

// doorAddrs are the addresses of this node's door for an invitation.
func doorAddrs(dir string) ([]domain.Addr, error) {
	r, err := readListening(dir, doorFile)
	for i, a := range r.Addrs {
		r.Addrs[i], _ = a.Split() // the issuer stands in the token
	}
	return slices.Clip(r.Addrs), err
}

// awaitDoor returns when something listens where the door is, as a running node
// notices an invitation by itself, and reports whether that came in time.
func awaitDoor(ctx context.Context, dir string) bool {
	ctx, cancel := context.WithTimeout(ctx, doorWait)
	defer cancel()
	for ctx.Err() == nil {
		r, err := readListening(dir, doorFile)
		if err != nil {
			return false
		}
		for _, text := range r.Listen {
			p := strings.Split(text, "/") // /ip4/HOST/tcp/PORT
			var d net.Dialer
			if c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(p[2], p[4])); err == nil {
				c.Close()
				return true
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

const doorWait = 30 * doorEvery
