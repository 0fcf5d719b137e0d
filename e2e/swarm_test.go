package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/wire"
)

const loopback = "/ip4/127.0.0.1/tcp/0"

// newMember starts a node that others reach on loopback only.
func newMember(t testing.TB, args ...string) *node {
	t.Helper()
	return newNode(t, append([]string{"--p2p-listen", loopback, "--door-listen", loopback}, args...)...)
}

// joins lets n into the domain of host while both run, and waits until each
// has heard of the other.
func (n *node) joins(host *node) {
	n.t.Helper()
	n.ok("domain", "join", host.ok("domain", "invite"))
	if st, err := n.client().Node(context.Background()); err != nil || st.DomainID != host.domain().ID {
		n.t.Errorf("after join the running node is in %s (%s), %v; want %s", st.Domain, st.DomainID, err, host.domain().ID)
	}
	n.hears(host)
	host.hears(n)
}

// peerID is the whole id of the node, also while it does not run.
func (n *node) peerID() string {
	n.t.Helper()
	return n.domain().Node
}

// hears waits until n is connected to another node and has heard its advert.
func (n *node) hears(other *node) {
	n.t.Helper()
	id := other.peerID()
	n.await("hearing of "+id, 60*time.Second, func() bool {
		p, ok := n.peers()[id]
		return ok && p.Connected && p.Version != ""
	})
}

// peers are the other members by id; none while the node does not answer.
func (n *node) peers() map[string]wire.Peer {
	n.t.Helper()
	all := map[string]wire.Peer{}
	list, err := n.client().Peers(context.Background())
	if err != nil {
		return all // it is put together anew
	}
	for _, p := range list.Peers {
		all[p.ID] = p
	}
	return all
}

// random adds size random bytes to n and returns their CID.
func (n *node) random(size int) string {
	n.t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data)
	return n.ok("add", "-q", write(n.t, n.t.TempDir(), "data", string(data)))
}

// gets fetches what another node has, and looks that it is whole.
func (n *node) gets(cid string, from *node) {
	n.t.Helper()
	dir := n.t.TempDir()
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	n.ok("get", cid, here)
	from.ok("get", cid, there)
	if files(n.t, here)[""] == "" && fmt.Sprint(files(n.t, here)) != fmt.Sprint(files(n.t, there)) {
		n.t.Errorf("%s is not the same on both nodes", cid)
	}
}

// lacks holds that n cannot get what it does not have.
func (n *node) lacks(cid string) {
	n.t.Helper()
	if r := n.fails(1, "get", cid, filepath.Join(n.t.TempDir(), "out")); !strings.Contains(r.stderr, "E_FETCH_TIMEOUT") {
		n.t.Errorf("get of what it may not have: %s", r.stderr)
	}
}

// metric returns the value of one line of the node's metrics.
func (n *node) metric(line string) int {
	n.t.Helper()
	token, err := os.ReadFile(filepath.Join(n.dir, "token"))
	if err != nil {
		n.t.Fatal(err)
	}
	status, err := n.client().Node(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, "http://"+status.Address+"/metrics", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if value, ok := strings.CutPrefix(l, line+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				n.t.Fatal(err)
			}
			return int(v)
		}
	}
	n.t.Fatalf("no metric %s in %s", line, b)
	return 0
}

const contentIn = `ipdc_swap_bytes_total{direction="in",kind="content"}`

// A node that joins by one token fetches what another member has, by bitswap,
// and every byte is counted, in the node and on the wire.
func TestMembersExchangeBlocks(t *testing.T) {
	parallel(t)
	w := testenv.NewWire(t)
	a := newMember(t, "--p2p-announce", w.Multiaddr(), "--labels", "zone=x")
	w.LeadTo(a.listens())
	b := newMember(t)
	b.joins(a)
	const size = 3 << 20
	cid := a.random(size)
	before := w.From()
	b.gets(cid, a)
	if got := b.metric(contentIn); got != size {
		t.Errorf("%d bytes of content came by bitswap, want %d", got, size)
	}
	if got := w.From() - before; got < size {
		t.Errorf("%d bytes on the wire, want over %d", got, size)
	}
	b.await("an advert with what is held", 60*time.Second, func() bool { return b.peers()[a.peerID()].Held >= size })
	if p := b.peers()[a.peerID()]; p.Labels["zone"] != "x" || p.Capacity.CPU == 0 || p.Free.CPU == 0 || p.Started.IsZero() || len(p.Addrs) == 0 {
		t.Errorf("peers shows %+v", p)
	}
	var list wire.PeerList
	if err := json.Unmarshal([]byte(b.ok("peers", "-o", "json")), &list); err != nil || len(list.Peers) != 1 {
		t.Errorf("ipdc peers: %v, %+v", err, list)
	}
	for _, n := range []*node{a, b} {
		if out := n.ok("doctor", "swarm"); !strings.HasPrefix(out, "ok ") || !strings.Contains(out, "65.5 kB there in") {
			t.Errorf("doctor swarm: %s", out)
		}
	}
}

// A job's tasks run on the member that holds their input: none of it moves, and
// the result is that of a run there.
func TestTasksRunAtTheirData(t *testing.T) {
	parallel(t)
	a, b := newMember(t), newMember(t)
	b.joins(a)
	const size = 1 << 20
	dir := t.TempDir()
	for _, name := range []string{"1", "2", "d/3", "d/4"} {
		data := make([]byte, size)
		_, _ = rand.Read(data)
		write(t, dir, name, string(data))
	}
	cid := a.ok("add", "-q", dir)
	got := b.ok("job", "submit", "-e", "sha256sum", "-c", cid)
	if want := a.ok("job", "submit", "-e", "sha256sum", "-c", cid, "--cache", "off"); got != want {
		t.Errorf("result %s, on the other node %s", got, want)
	}
	for _, try := range b.job("@last").Attempts {
		if try.Node != a.peerID() {
			t.Errorf("attempt %s ran on %s, the data is on %s", try.ID, try.Node, a.peerID())
		}
	}
	if moved := b.metric(contentIn); moved == 0 || moved > 64<<10 {
		t.Errorf("%d bytes of content came for %d bytes of input, want outputs and messages only", moved, 4*size)
	}
	b.gets(cid+"/1", a) // the control: what moves is counted
	if moved := b.metric(contentIn); moved < size {
		t.Errorf("after a get of %d bytes %d are counted", size, moved)
	}
}

// P01 with real nodes: who is of another domain, and who has the secret but no
// certificate, gets no byte of any protocol. The control is a member.
func TestP01NodeTellsStrangersNothing(t *testing.T) {
	parallel(t)
	w := testenv.NewWire(t)
	a := newMember(t)
	w.LeadTo(a.listens())
	b, c := newMember(t), newMember(t)
	b.joins(a)
	cid := a.random(100_000)
	c.lacks(cid)
	if len(c.peers()) != 0 {
		t.Errorf("a node of another domain has peers: %v", c.peers())
	}
	b.stop()
	c.stop()
	member, stranger := b.state(), c.state()
	thief := stranger
	thief.domain, thief.psk = member.domain, member.psk
	for _, test := range []struct {
		name  string
		is    state
		limit int64 // of bytes from the node; 0: it talks
	}{
		{"control: a member", member, 0},
		{"another domain", stranger, greeting},
		{"the secret without a certificate", thief, handshake},
	} {
		got, in := test.is.knocks(t, a.peerID(), w)
		t.Logf("%s: %d bytes from the node", test.name, got)
		if in != (test.limit == 0) {
			t.Errorf("%s: let in = %v", test.name, in)
		}
		if test.limit > 0 && got > test.limit || test.limit == 0 && got <= handshake {
			t.Errorf("%s: %d bytes from the node, those that agree on keys are %d", test.name, got, test.limit)
		}
	}
}

// Who is revoked is dropped at once and gets nothing more; who is there gets
// the new secret by itself, and who slept through it asks at the door.
func TestRevokeSpreads(t *testing.T) {
	parallel(t)
	a := newMember(t)
	w := testenv.NewWire(t) // of the stranger's own
	w.LeadTo(a.listens())
	b, c, d := newMember(t), newMember(t), newMember(t)
	for _, n := range []*node{b, c, d} {
		n.joins(a)
	}
	c.hears(b)
	b.gets(a.random(50_000), a) // the control
	d.stop()
	pid := c.cmd.Process.Pid
	a.ok("domain", "revoke", b.peerID())
	c.await("the new secret to reach who is there", 60*time.Second, func() bool { return c.domain().Generation == 2 })
	a.await("the revoked to be gone", 60*time.Second, func() bool { return len(a.peers()) == 1 && len(c.peers()) == 1 })
	a.hears(c)
	c.hears(a)
	b.await("the revoked to be alone", 60*time.Second, func() bool { return len(b.peers()) == 0 })
	cid := a.random(50_000)
	b.lacks(cid)
	c.gets(cid, a)
	if n, err := c.client().Node(t.Context()); err != nil || n.PID != pid {
		t.Errorf("the member's process is %d, was %d: %v", n.PID, pid, err)
	}
	d.start() // with the old secret
	d.await("the sleeper to ask at the door", 90*time.Second, func() bool { return d.domain().Generation == 2 })
	d.hears(a)
	d.gets(cid, a)
	b.stop()
	if got, in := b.state().knocks(t, a.peerID(), w); in || got > greeting {
		t.Errorf("the revoked with the old secret: let in = %v, %d bytes", in, got)
	}
	if r := b.fails(1, "domain", "refresh"); !strings.Contains(r.stderr, "was revoked") {
		t.Errorf("the revoked asks at the door: %s", r.stderr)
	}
}

// A member that is cut off while another is revoked, and then finds the revoked
// one and nobody else in the network of the old secret, asks at a door.
func TestRevokeDuringPartition(t *testing.T) {
	a, b, c := newMember(t), newMember(t), newMember(t)
	b.joins(a)
	c.joins(a)
	c.hears(b)
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	a.ok("domain", "revoke", b.peerID())
	a.await("the revoked to be gone", 60*time.Second, func() bool { _, there := a.peers()[b.peerID()]; return !there && a.domain().Generation == 2 })
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.await("the new secret to reach who was cut off", 60*time.Second, func() bool { return c.domain().Generation == 2 })
	c.hears(a)
	c.gets(a.random(50_000), a)
	b.await("the revoked to be alone", 60*time.Second, func() bool { return len(b.peers()) == 0 })
}

// Either side is killed: both find each other again by themselves.
func TestMembersSurviveKills(t *testing.T) {
	parallel(t)
	a, b := newMember(t), newMember(t)
	b.joins(a)
	for _, victim := range []*node{a, b, a} {
		victim.kill()
		victim.start()
		a.hears(b)
		b.hears(a)
		b.gets(a.random(50_000), a)
		a.gets(b.random(50_000), b)
	}
	b.ok("domain", "leave")
	b.await("the node to be on its own", 60*time.Second, func() bool {
		_, err := b.client().Node(t.Context())
		return err == nil && len(b.peers()) == 0 && b.domain().ID != a.domain().ID
	})
	b.lacks(a.random(50_000))
}

// A node that stays by itself listens nowhere for others.
func TestP2POff(t *testing.T) {
	n := newNode(t, "--p2p-listen", "off", "--door-listen", "off")
	if out := n.ok("peers", "-q"); out != "" {
		t.Errorf("peers of a node by itself: %q", out)
	}
	if _, err := os.Stat(filepath.Join(n.dir, "p2p.json")); !os.IsNotExist(err) {
		t.Errorf("it has listened: %v", err)
	}
}

// A node beside a Kubo serves members what that Kubo has, and brings it what
// they have, and the Kubo's configuration stays as it is.
func TestMembersBesideKubo(t *testing.T) {
	parallel(t)
	daemon := testenv.Kubo(t)
	before := daemon.Run("config", "show")
	a, b := newMember(t, "--ipfs", daemon.API), newMember(t)
	b.joins(a)
	b.gets(a.random(100_000), a)
	there := b.random(100_000)
	if r := a.ipdc("pin", "add", there); r.code != 0 {
		t.Errorf("pin of what a member has: %s", r.stderr)
	}
	b.stop()
	a.ok("get", there, filepath.Join(t.TempDir(), "out")) // of the Kubo
	if after := daemon.Run("config", "show"); after != before {
		t.Error("the configuration of the Kubo has changed")
	}
}
