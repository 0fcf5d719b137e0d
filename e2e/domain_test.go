package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// idle is a machine on which no node runs.
func (n *node) idle() *node {
	n.t.Helper()
	dir := n.t.TempDir()
	return &node{t: n.t, dir: dir, bin: n.bin, env: append(os.Environ(), "IPDC_PATH="+dir, "HOME="+filepath.Join(dir, "home"), "NO_COLOR=1")}
}

type shownDomain struct {
	ID, Name, Node, Role string
	Generation           int
}

func (n *node) domain() (d shownDomain) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.ok("domain", "show", "-o", "json")), &d); err != nil {
		n.t.Fatal(err)
	}
	return d
}

// doorIsOpen reports whether something listens where the node's invitations lead.
func (n *node) doorIsOpen() bool {
	n.t.Helper()
	var door struct{ Listen []string }
	b, err := os.ReadFile(filepath.Join(n.dir, "door.json"))
	if err == nil {
		err = json.Unmarshal(b, &door)
	}
	if err != nil || len(door.Listen) != 1 {
		n.t.Fatalf("where the door is: %v, %v", door.Listen, err)
	}
	p := strings.Split(door.Listen[0], "/")
	c, err := net.Dial("tcp", net.JoinHostPort(p[2], p[4]))
	if err == nil {
		c.Close()
	}
	return err == nil
}

// One token is all that a new machine needs; and whoever dies while it is used,
// it still is good for that machine, and for no other. Z06.
func TestDomainByInvitation(t *testing.T) {
	parallel(t)
	a := newNode(t, "--door-listen", "/ip4/127.0.0.1/tcp/0")
	b, c, d := a.idle(), a.idle(), a.idle()
	home := a.domain()
	if home.Role != "admin" || home.Generation != 1 {
		t.Fatalf("born in %+v", home)
	}
	b.fails(2, "domain", "join", "/ip4/127.0.0.1/tcp/4001")

	if a.doorIsOpen() {
		t.Error("a node that invited nobody listens for strangers")
	}
	token := a.ok("domain", "invite")
	if !a.doorIsOpen() {
		t.Error("the door is shut to whom was invited")
	}
	b.ok("domain", "join", token)
	if got := b.domain(); got.ID != home.ID || got.Role != "member" {
		t.Errorf("joined %+v, want %s", got, home.ID)
	}
	if r := c.fails(1, "domain", "join", token); !strings.Contains(r.stderr, "was used by "+b.domain().Node) {
		t.Errorf("a second node by one invitation: %s", r.stderr)
	}
	b.ok("domain", "join", token) // as if its first answer was lost

	// The member dies before or after the code is spent.
	for _, step := range []string{"domain.invites.rename", "domain.invites.done"} {
		newcomer := a.idle()
		token := a.ok("domain", "invite")
		a.stop()
		a.start("IPDC_FAILPOINT=" + step + "=kill")
		newcomer.fails(1, "domain", "join", token)
		a.kill()
		a.start()
		newcomer.ok("domain", "join", token)
		if r := d.fails(1, "domain", "join", token); !strings.Contains(r.stderr, "was used by") {
			t.Errorf("after a crash at %s another node: %s", step, r.stderr)
		}
	}

	// Who is revoked gets nothing more; the others get the new secret.
	c.ok("domain", "join", a.ok("domain", "invite"))
	a.ok("domain", "revoke", b.domain().Node)
	if r := b.fails(1, "domain", "refresh"); !strings.Contains(r.stderr, "E_PNET") || !strings.Contains(r.stderr, "was revoked") {
		t.Errorf("the revoked asks for the secret: %s", r.stderr)
	}
	c.ok("domain", "refresh")
	if got := c.domain(); got.Generation != 2 {
		t.Errorf("generation %d after refresh, want 2", got.Generation)
	}
}

// P02: a node does not start without its domain's secret, and makes up none.
func TestP02NodeNeedsItsSecret(t *testing.T) {
	parallel(t)
	a := newNode(t)
	file := filepath.Join(a.dir, "domains", a.domain().ID, "membership")
	a.stop()
	if err := os.Rename(file, file+".kept"); err != nil {
		t.Fatal(err)
	}
	if r := a.fails(1, "node", "start"); !strings.Contains(r.stderr, "E_PNET") || !strings.Contains(r.stderr, "membership") {
		t.Errorf("start without the secret: %s", r.stderr)
	}
	if err := os.Rename(file+".kept", file); err != nil {
		t.Fatal(err)
	}
	a.start() // control: with it the node starts
}
