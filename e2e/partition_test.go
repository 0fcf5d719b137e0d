package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
)

// site is a bridge with a machine at each of its ports.
type site struct {
	t   *testing.T
	net *testenv.Network
}

func newSite(t *testing.T, machines ...string) *site {
	t.Helper()
	s := &site{t: t, net: testenv.NetNS(t)}
	s.net.Add("hub")
	s.net.In("hub", "ip link add br0 type bridge")
	s.net.In("hub", "ip link set br0 up")
	for i, name := range machines {
		s.net.Add(name)
		s.net.Link("hub", "to-"+name, name, "eth0")
		s.net.In("hub", "ip link set to-"+name+" master br0")
		s.net.In(name, fmt.Sprintf("ip addr add 10.77.0.%d/24 dev eth0", i+1))
	}
	return s
}

// member starts a node on a machine.
func (s *site) member(machine string) *node {
	s.t.Helper()
	n := newNodeBy(s.t, s.net.Enter(machine))
	n.via = n.by
	return n
}

// Three machines on one network; the cable of one is pulled in the middle of a
// job. The side that has the job goes on without it, and when the cable is back
// the job has the CID that it has without, and all are together again. Then two
// of them, moved to other addresses while they were off, so that neither knows
// where the other is, find each other by multicast DNS.
func TestPartitionHeals(t *testing.T) {
	t.Setenv("IPDC_LEASE", "4s")
	s := newSite(t, "a", "b", "c")
	a, b, c := s.member("a"), s.member("b"), s.member("c")
	b.joins(a)
	c.joins(a)
	dir := t.TempDir()
	for i := range 60 {
		write(t, dir, fmt.Sprintf("%d/%02d.txt", i%2, i), fmt.Sprintln("file", i))
	}
	root := a.ok("add", "-q", dir)
	b.ok("pin", "add", root+"/1")
	c.ok("pin", "add", root)

	id := a.ok("job", "submit", "-d", "-e", c.neverEnds()+"cat", "--expose", "node", "--cache", "off", "-c", root)
	a.awaitWork(id, c)
	s.net.In("hub", "ip link set to-c down")
	a.await("the attempt beyond the cut to be lost", time.Minute, func() bool { return lost(a.job(id)) > 0 })
	s.net.In("hub", "ip link set to-c up")
	a.ok("job", "wait", id)
	if got := a.job(id).Result.String(); got != root {
		t.Errorf("result = %s, want a copy of the input, %s", got, root)
	}
	a.hears(c)
	c.hears(b)
	c.comesToRest()

	for _, n := range []*node{a, b, c} {
		n.stop()
	}
	for i, n := range []*node{b, c} {
		machine := []string{"b", "c"}[i]
		s.net.In(machine, "ip addr flush dev eth0")
		s.net.In(machine, fmt.Sprintf("ip addr add 10.78.0.%d/24 dev eth0", i+1))
		n.args = append(n.args, "--p2p-lan=true")
		n.start()
	}
	b.hears(c)
	c.hears(b)
	c.gets(b.random(10_000), b)
}
