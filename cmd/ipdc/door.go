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
	"github.com/ipdc/ipdc/internal/p2phost"
)

// openDoor listens for newcomers while this node may let them in and somebody
// was invited.
func (n *node) openDoor(ctx context.Context) error {
	w := n.newDoorway(time.Now)
	m, err := w.files.Born(n.key.ID(), hostName(), time.Now())
	if err != nil {
		return err
	}
	n.log.Info("domain", "name", m.Name, "id", m.ID(), "generation", m.List.Generation, "role", m.Certificate.Role)
	return w.begin(ctx)
}

// doorOff as --door-listen keeps newcomers out.
const doorOff = "off"

// listenDoor opens the door where it was the last time, so that invitations
// stay good; when somebody else is there now, anywhere.
func (n *node) listenDoor(ctx context.Context, m domain.Membership) (*p2phost.Host, error) {
	cfg := p2phost.Config{Domain: m.ID().String(), Key: n.key, PSK: m.DoorPSK(), Door: true, Logger: n.log.With("host", "door")}
	if n.set.DoorListen != "" {
		cfg.Listen = []string{n.set.DoorListen}
	}
	kept, err := readDoor(n.set.Path)
	if err != nil {
		return nil, err
	}
	if n.set.DoorListen != kept.Asked || len(kept.Listen) == 0 {
		return p2phost.Open(ctx, cfg)
	}
	again := cfg
	again.Listen = kept.Listen
	h, err := p2phost.Open(ctx, again)
	if err != nil {
		n.log.Warn("the door moves to another port, and open invitations lead nowhere", "err", err)
		return p2phost.Open(ctx, cfg)
	}
	return h, nil
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

// doorRecord is the file door.json: where the door is, for invitations that are
// made by another process and for the next start.
type doorRecord struct {
	Asked  string        `json:"asked"`  // the setting
	Listen []string      `json:"listen"` // with the ports that it got
	Addrs  []domain.Addr `json:"addrs"`  // for others
}

const doorFile = "door.json"

func readDoor(dir string) (r doorRecord, err error) {
	b, err := os.ReadFile(filepath.Join(dir, doorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		err = fmt.Errorf("read where the door is: %w; remove %s", err, filepath.Join(dir, doorFile))
	}
	return r, err
}

func writeDoor(dir string, r doorRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, doorFile)
	return errors.Join(os.WriteFile(file+".tmp", b, 0o600), os.Rename(file+".tmp", file))
}

// doorAddrs are the addresses of this node's door for an invitation.
func doorAddrs(dir string) ([]domain.Addr, error) {
	r, err := readDoor(dir)
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
		r, err := readDoor(dir)
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

const doorWait = 10 * doorEvery
