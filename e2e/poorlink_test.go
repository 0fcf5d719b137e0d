package e2e

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// F49: over a link that loses packets, and over one of 100 kbit/s, a job ends with
// the result that it has without, or with a failure that says that something took
// too long or was lost. Where no more than a third is lost, hardly a member that
// lives is taken for a dead one.
func TestF49PoorLink(t *testing.T) {
	parallel(t)
	const lease = 10 * time.Second
	s := newSite(t, "a", "b")
	member := func(machine string) *node {
		n := newNodeBy(t, s.net.Enter(machine), "IPDC_LEASE="+lease.String())
		n.via = n.by
		return n
	}
	a, b := member("a"), member("b")
	b.joins(a)
	dir := t.TempDir()
	for i := range 8 {
		write(t, dir, fmt.Sprintf("%d/%d.txt", i%2, i), fmt.Sprintln("file", i))
	}
	root := a.ok("add", "-q", dir)
	b.ok("pin", "add", root+"/1") // so that half of the tasks are its own
	big := filepath.Join(t.TempDir(), "big")
	writeRandom(t, big, 64<<10)
	big = a.ok("add", "-q", big)
	drops := func(share string) (on, off string) {
		rule := " INPUT -i eth0 -m statistic --mode random --probability " + share + " -j DROP"
		return "iptables -A" + rule, "iptables -D" + rule
	}
	away := 0
	for _, c := range []struct {
		name, loss string
		alive      bool // hardly a member is taken for a dead one
	}{
		{"control", "", true}, {"a tenth is lost", "0.1", true}, {"a third is lost", "0.3", true}, {"a half is lost", "0.5", false}, {"100 kbit/s", "", false},
	} {
		a.hears(b)
		on, off := drops(c.loss)
		if c.name == "100 kbit/s" {
			on, off = "tc qdisc add dev eth0 root tbf rate 100kbit burst 4kb latency 400ms", "tc qdisc del dev eth0 root"
		}
		if c.name != "control" {
			s.net.In("a", on)
			s.net.In("b", on)
		}
		id := a.ok("job", "submit", "-d", "--cache", "off", "--timeout", "30s", "--total-timeout", "45s", "-e", "sleep 0.5; cat", "-c", root)
		if c.name == "100 kbit/s" { // which what a job says may not fill
			b.ok("pin", "add", big)
		}
		a.ipdc("job", "wait", id) // its record says how it ended
		j, met := a.job(id), 0
		if c.name != "control" {
			if met = s.met(c.loss); met == 0 {
				t.Errorf("%s: control: the link did nothing to any packet", c.name)
			}
			s.net.In("a", off)
			s.net.In("b", off)
		}
		switch {
		case j.State == jobspec.JobSucceeded && j.Result.String() == root:
		case c.name != "control" && j.State == jobspec.JobFailed && j.Failure.Hint != "" && (j.Failure.Kind == jobspec.KindTimeout || j.Failure.Kind == jobspec.KindLost || j.Failure.Kind == jobspec.KindFetchTimeout):
		default:
			t.Errorf("%s: the job is %s with %s: %+v; want %s", c.name, j.State, j.Result, j.Failure, root)
		}
		if n := lost(j); c.alive && n > 2 {
			t.Errorf("%s: %d attempts were given up: %+v", c.name, n, j.Attempts)
		}
		for _, at := range j.Attempts {
			if c.name != "control" && at.Node == b.peerID() && at.Failure == nil {
				away++
			}
		}
		t.Logf("%s: %s after %d attempts, %d lost; %d packets were held up", c.name, j.State, len(j.Attempts), lost(j), met)
	}
	if away == 0 {
		t.Error("control: nothing was done beyond the link")
	}
}

// met is how many packets the rule, or without one the bound of the rate, met at
// machine a.
func (s *site) met(loss string) (n int) {
	s.t.Helper()
	words, field := []string{"iptables", "-L", "INPUT", "-v", "-n", "-x"}, "DROP"
	if loss == "" {
		words, field = []string{"tc", "-s", "qdisc", "show", "dev", "eth0"}, "overlimits"
	}
	out, err := s.net.Command("a", words...).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	f := strings.Fields(string(out))
	for i := range f {
		switch {
		case f[i] == field && loss != "" && i > 1: // after packets and bytes
			n, err = strconv.Atoi(f[i-2])
		case f[i] == field && loss == "" && i+1 < len(f):
			n, err = strconv.Atoi(f[i+1])
		}
	}
	if err != nil {
		s.t.Errorf("%q: %v", out, err)
	}
	return n
}
