package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// partSize is the size of one file of thirds: more than all that members tell
// each other about a job over it, so that a count of bytes shows that not one
// of them has moved.
const partSize = 128 << 10

// thirds adds 300 files in three directories to a node and returns their root.
func (n *node) thirds() string {
	n.t.Helper()
	dir := n.t.TempDir()
	for i := range 300 {
		write(n.t, dir, fmt.Sprintf("%d/%03d.txt", i%3, i), strings.Repeat(fmt.Sprintf("line of file %03d\n", i), partSize/17+1)[:partSize])
	}
	return n.ok("add", "-q", dir)
}

// The promise: a dataset lies on three nodes, in disjoint parts, and nowhere
// else. A fourth one submits a plain job. Each part is processed where it lies,
// no file of it moves, and one CID comes back: that of a node alone. The same
// with messages over a real mosquitto; one of the three is beside a Kubo. And
// when one is killed while it works, a second one that has its part goes on.
func TestEachPartIsProcessedWhereItLies(t *testing.T) {
	parallel(t)
	const lease = "IPDC_LEASE=6s" // of a minute, which the last part would wait for
	daemon := testenv.Kubo(t)
	owner := newMember(t, lease)
	root := owner.thirds()
	submit := []string{"job", "submit", "-e", "sed -n 2p", "--cache", "off", "-c", root}
	alone := owner.ok(submit...)
	holders := []*node{newMember(t, lease), newMember(t, lease), newMember(t, lease, "--ipfs", daemon.API)}
	for _, h := range holders {
		h.joins(owner)
	}
	owner.partsTo(holders, root)
	owner.runsAt(holders, submit, alone)
	overMosquitto(t, append([]*node{owner}, holders...)...)
	owner.runsAt(holders, submit, alone)

	holders[0].ok("pin", "add", root+"/1")
	id := owner.ok("job", "submit", "-d", "-e", holders[1].neverEnds()+"sed -n 2p", "--expose", "node", "--cache", "off", "-c", root)
	owner.awaitWork(id, holders[1])
	holders[1].kill()
	owner.ok("job", "wait", id)
	j := owner.job(id)
	if j.Result.String() != alone {
		t.Errorf("with a holder killed: %s, a node alone %s", j.Result, alone)
	}
	if lost(j) == 0 {
		t.Errorf("no attempt was lost: %+v", j.Attempts)
	}
	holders[1].start()
	holders[1].comesToRest()
}

// neverEnds keeps a program of a job with --expose node from its end at n, so
// that what happens to n comes before that.
func (n *node) neverEnds() string {
	return fmt.Sprintf(`[ "$IPDC_NODE" != %s ] || sleep 600; `, n.peerID())
}

// comesToRest waits until a node has ended what nobody wants of it.
func (n *node) comesToRest() {
	n.t.Helper()
	n.await("an end of what nobody wants", 2*time.Minute, func() bool {
		status, err := n.client().Node(n.t.Context())
		return err == nil && status.Jobs == 0 && len(n.containers()) == 0
	})
}

// partsTo leaves each third of a dataset with one holder, and with nobody else.
func (n *node) partsTo(holders []*node, root string) {
	n.t.Helper()
	for i, h := range holders {
		h.ok("pin", "add", fmt.Sprintf("%s/%d", root, i))
	}
	n.ok("pin", "rm", root)
	n.ok("node", "gc")
}

// runsAt holds that a job gives what it gave a node alone, at work on all
// holders and nowhere else, while no file of its input moves.
func (n *node) runsAt(holders []*node, submit []string, alone string) {
	n.t.Helper()
	before := make([]int, len(holders))
	for i, h := range holders {
		before[i] = h.metric(contentIn)
	}
	came := n.metric(contentIn)

	got := n.ok(submit...)
	if got != alone {
		n.t.Errorf("three holders give %s, a node alone %s", got, alone)
	}
	worked := map[string]bool{}
	for _, a := range n.job("@last").Attempts {
		worked[a.Node] = true
	}
	for i, h := range holders {
		if !worked[h.peerID()] {
			n.t.Errorf("holder %d did nothing; at work were %v", i, worked)
		}
		if more := h.metric(contentIn) - before[i]; more >= partSize {
			n.t.Errorf("%d bytes came to holder %d, a file has %d", more, i, partSize)
		}
	}
	if worked[n.peerID()] {
		n.t.Error("the owner, which holds nothing, worked too")
	}
	// What came to the owner are the outputs, which it keeps too, and reports.
	if more := n.metric(contentIn) - came; more >= partSize {
		n.t.Errorf("%d bytes came to the owner, a file has %d", more, partSize)
	}
}

// A holder that is killed while it works costs a retry, not the result.
func TestHolderIsKilled(t *testing.T) {
	parallel(t)
	const lease = "IPDC_LEASE=10s" // of a minute, which the test would wait for
	owner := newMember(t, lease)
	root := owner.thirds()
	holder := newMember(t, lease)
	holder.joins(owner)
	holder.ok("pin", "add", root)
	id := owner.ok("job", "submit", "-d", "-e", holder.neverEnds()+"cat", "--expose", "node", "--cache", "off", "-c", root)
	owner.awaitWork(id, holder)
	holder.kill()
	owner.ok("job", "wait", id)
	j := owner.job(id)
	if j.Result.String() != root {
		t.Errorf("result = %s, want the copied dataset %s", j.Result, root)
	}
	if lost(j) == 0 {
		t.Errorf("no attempt was lost: %+v", j.Attempts)
	}
	holder.start() // what it left of the attempt goes with its next start
	holder.comesToRest()
}

func anyAt(j wire.Job, node string) bool {
	for _, a := range j.Attempts {
		if a.Node == node {
			return true
		}
	}
	return false
}

// awaitWork waits until a holder is at work for a job: a container of its runs,
// so it has taken a task, and has said so.
func (n *node) awaitWork(job string, holder *node) {
	n.t.Helper()
	id := holder.peerID()
	n.await("a task at the holder", time.Minute, func() bool { return anyAt(n.job(job), id) && len(holder.containers()) > 0 })
}

// lost counts the attempts of a job that were lost with their node.
func lost(j wire.Job) (n int) {
	for _, a := range j.Attempts {
		if a.Failure != nil && a.Failure.Kind == jobspec.KindLost {
			n++
		}
	}
	return n
}
