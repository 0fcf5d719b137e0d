package p2phost_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/testenv"
)

// role is what a process of TestNAT is, in the environment variable roleVar.
type role struct {
	KeyFile string
	PSK     [32]byte
	Admin   identity.ID
	Hello   []byte
	Addr    string      // listened on
	Hub     identity.ID // connected to; "" for the hub itself
	HubAddr string
	Want    identity.ID // talked to
}

const roleVar = "IPDC_P2PHOST_ROLE"

// Two members behind two NATs, whose home networks have the same addresses,
// talk by way of a third that both can reach. Nobody was told to relay.
func TestNAT(t *testing.T) {
	n := testenv.NetNS(t)
	n.Add("inet", "hub", "nat1", "nat2", "a", "b")
	n.In("inet", "ip link add br0 type bridge")
	n.In("inet", "ip link set br0 up")
	for i, name := range []string{"nat1", "nat2", "hub"} {
		dev := fmt.Sprintf("port%d", i)
		n.Link("inet", dev, name, "wan0")
		n.In("inet", "ip link set "+dev+" master br0")
		n.In(name, fmt.Sprintf("ip addr add 198.51.100.%d/24 dev wan0", i+1))
	}
	for nat, home := range map[string]string{"nat1": "a", "nat2": "b"} {
		n.Link(nat, "lan0", home, "eth0")
		n.In(nat, "ip addr add 192.168.1.1/24 dev lan0")
		n.In(nat, "sysctl -qw net.ipv4.ip_forward=1")
		n.In(nat, "iptables -t nat -A POSTROUTING -o wan0 -j MASQUERADE")
		n.In(nat, "iptables -P FORWARD DROP")
		n.In(nat, "iptables -A FORWARD -i lan0 -o wan0 -j ACCEPT")
		n.In(nat, "iptables -A FORWARD -i wan0 -m conntrack --ctstate ESTABLISHED -j ACCEPT")
	}
	for i, home := range []string{"a", "b"} {
		n.In(home, fmt.Sprintf("ip addr add 192.168.1.%d/24 dev eth0", 10+i))
		n.In(home, "ip route add default via 192.168.1.1")
	}

	c := newClub(t)
	a, b, hub := c.role(t), c.role(t), c.role(t)
	hub.Addr = "/ip4/198.51.100.3/tcp/4101"
	a.Hub, b.Hub = idOf(t, hub), idOf(t, hub)
	a.HubAddr, b.HubAddr = hub.Addr, hub.Addr
	a.Addr, b.Addr = "/ip4/0.0.0.0/tcp/4101", "/ip4/0.0.0.0/tcp/4101"
	a.Want, b.Want = idOf(t, b), idOf(t, a)

	if line := <-start(t, n, "hub", hub); line != "ready" {
		t.Fatalf("hub says %q", line)
	}
	saysA, saysB := start(t, n, "a", a), start(t, n, "b", b)
	for name, says := range map[string]<-chan string{"a": saysA, "b": saysB} {
		if line := <-says; line != "talked relayed=true direct=false" {
			t.Errorf("%s says %q", name, line)
		}
	}
}

func (c *club) role(t *testing.T) role {
	r := role{KeyFile: filepath.Join(t.TempDir(), "key"), PSK: c.psk, Admin: c.admin.ID()}
	r.Hello = c.admin.Sign(memberPurpose, []byte(idOf(t, r)))
	return r
}

func idOf(t *testing.T, r role) identity.ID {
	t.Helper()
	key, err := identity.LoadOrCreate(r.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return key.ID()
}

// start runs this test program as a node in a namespace, until the end of the
// test. The channel gives its first line, or what it wrote to stderr.
func start(t *testing.T, n *testenv.Network, ns string, r role) <-chan string {
	t.Helper()
	env, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := n.Command(ns, self, "-test.run=^TestNode$", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), roleVar+"="+string(env))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var errs testenv.Log
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	says := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		if lines.Scan() {
			says <- lines.Text()
		} else {
			says <- "nothing: " + errs.String()
		}
		io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-done
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", ns, errs.String())
		}
	})
	return says
}

// TestNode is a process of TestNAT.
func TestNode(t *testing.T) {
	text := os.Getenv(roleVar)
	if text == "" {
		t.Skip("a process of TestNAT")
	}
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	if err := r.run(ctx, t); err != nil {
		t.Fatal(err)
	}
}

func (r role) run(ctx context.Context, t *testing.T) error {
	key, err := identity.LoadOrCreate(r.KeyFile)
	if err != nil {
		return err
	}
	nobody := func(identity.ID) bool { return false }
	h := open(t, p2phost.Config{
		Domain: domain, Key: key, PSK: r.PSK, Guard: &member{r.Admin, r.Hello, nobody}, Listen: []string{r.Addr},
		Every: time.Second, Logger: logger(t),
	})
	echo(h)
	if r.Hub == "" {
		fmt.Println("ready")
		<-ctx.Done()
		return nil
	}
	if err := h.Connect(ctx, r.Hub, []string{r.HubAddr}); err != nil {
		return err
	}
	eventually(t, "the other is connected", func() bool { return connected(h, r.Want) || ctx.Err() != nil })
	back, err := say(ctx, h, r.Want, secret)
	if err != nil || len(back) != len(secret) {
		return fmt.Errorf("echo of %d bytes: %d, %w", len(secret), len(back), err)
	}
	fmt.Println(way(h, r.Want))
	<-ctx.Done()
	return nil
}

// way says how a peer is connected.
func way(h *p2phost.Host, id identity.ID) string {
	var relayed, direct bool
	for _, p := range h.Peers() {
		for _, a := range p.Addrs {
			if p.ID == id {
				circuit := strings.Contains(a, "p2p-circuit")
				relayed, direct = relayed || circuit, direct || !circuit
			}
		}
	}
	return fmt.Sprintf("talked relayed=%t direct=%t", relayed, direct)
}
