package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/internal/testenv"
)

// over restarts a node with a broker for its messages.
func (n *node) over(args ...string) {
	n.t.Helper()
	n.stop()
	n.args = append(n.args, append([]string{"--bus", "mqtt"}, args...)...)
	n.start()
}

// overMosquitto restarts members of one domain with a mosquitto that knows them,
// and waits until the first has heard the others by it.
func overMosquitto(t *testing.T, nodes ...*node) *testenv.MosquittoBroker {
	t.Helper()
	const password = "only for this test"
	users := map[string]string{}
	for _, n := range nodes {
		users[n.peerID()] = password
	}
	broker := testenv.Mosquitto(t, users, mqtt.MosquittoACL(bus.DomainID(nodes[0].domain().ID)), "", "")
	for _, n := range nodes {
		file := filepath.Join(n.dir, "broker.password")
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		n.env = append(n.env, "IPDC_BROKER_PASSWORD_FILE="+file)
		n.over("--broker", "mqtt://"+broker.Addr)
	}
	for _, n := range nodes[1:] {
		nodes[0].hears(n)
	}
	return broker
}

// Over a real mosquitto members hear each other by it and by nothing else,
// while blocks go from node to node.
func TestMembersOverMosquitto(t *testing.T) {
	parallel(t)
	a, b := newMember(t), newMember(t)
	b.joins(a)
	broker := overMosquitto(t, a, b)
	a.hears(b)
	b.hears(a)
	b.gets(a.random(100_000), a)
	if out := b.ok("doctor", "swarm"); out[:2] != "ok" {
		t.Errorf("doctor swarm over a broker: %s", out)
	}
	broker.Stop()
	b.await("the advert to expire without the broker", 90*time.Second, func() bool {
		p := b.peers()[a.peerID()]
		return p.Connected && p.Version == ""
	})
	broker.Start()
	b.hears(a)
}

// One node runs the broker for the others, which show it their certificates.
func TestMembersOverOwnBroker(t *testing.T) {
	addr := testenv.Port(t)
	a, b := newMember(t), newMember(t)
	b.joins(a)
	a.over("--broker-listen", addr)
	b.over("--broker", "mqtt://"+addr)
	a.hears(b)
	b.hears(a)
	c := newMember(t) // of another domain
	c.stop()
	c.args = append(c.args, "--bus", "mqtt", "--broker", "mqtt://"+addr)
	c.fails(1, append([]string{"node", "start"}, c.args...)...)
}
