package e2e

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/wire"
)

// benchNodes runs one job over one dataset that lies on one, two and four
// nodes. The processors are the same: what grows is the price of going
// elsewhere.
func benchNodes(t testing.TB, w io.Writer) {
	fmt.Fprintf(w, `
## One dataset on 1, 2 and 4 nodes
400 files of 64 KiB, each on one of the nodes, on one machine; `+"`-e \"sed -n 2p\"`"+`, split by size into 16 tasks, 3 rounds, `+"`cache: off`"+`.
With the same two processors for all nodes there is no speed-up to be seen; what is seen is the price of working elsewhere. The
owner holds nothing itself where there are more nodes than one. Processor time is that of the nodes' processes (containers apart).

| nodes that hold it | median | for each task | processor time of the owner, a task | of all nodes, a task |
|---|---|---|---|---|
`)
	var result string
	for _, n := range []int{1, 2, 4} {
		owner := newMember(t)
		root := owner.quarters(n)
		all := []*node{owner}
		for i := range n {
			if n == 1 {
				break
			}
			h := newMember(t)
			h.joins(owner)
			h.ok("pin", "add", fmt.Sprintf("%s/%d", root, i))
			all = append(all, h)
		}
		if n > 1 {
			owner.ok("pin", "rm", root)
			owner.ok("node", "gc")
		}
		submit := []string{"job", "submit", "-e", "sed -n 2p", "--split", "size", "--into", "16", "--cpu", "0.25", "--cache", "off", "-c", root}
		owner.ok(submit...) // warm
		before := times(all)
		took := race(0, 3, func() { result = owner.ok(submit...) })[0]
		after := times(all)
		var j wire.Job = owner.job("@last")
		tasks := len(j.Attempts)
		var whole time.Duration
		for i := range all {
			whole += after[i] - before[i]
		}
		per := func(d time.Duration) string { return show(d / time.Duration(3*tasks)) }
		fmt.Fprintf(w, "| %d | %s | %s | %s | %s |\n", n, show(quantile(took, 0.5)), show(quantile(took, 0.5)/time.Duration(tasks)), per(after[0]-before[0]), per(whole))
		for _, m := range all {
			m.stop()
		}
	}
	if result == "" {
		t.Error("no result")
	}
}

// quarters adds 400 files in so many directories to a node.
func (n *node) quarters(dirs int) string {
	dir := n.t.TempDir()
	for i := range 400 {
		write(n.t, dir, fmt.Sprintf("%d/%03d.txt", i*dirs/400, i), strings.Repeat(fmt.Sprintf("line of file %03d\n", i), 64<<10/17))
	}
	return n.ok("add", "-q", dir)
}

// times are the processor times of the nodes so far.
func times(list []*node) []time.Duration {
	out := make([]time.Duration, len(list))
	for i, n := range list {
		out[i] = n.processor()
	}
	return out
}

// processor is the time that the node's process has used, of /proc/PID/stat;
// a tick is 10 ms.
func (n *node) processor() time.Duration {
	n.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		n.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	words := strings.Fields(rest)
	var user, system int64
	if _, err := fmt.Sscan(words[11]+" "+words[12], &user, &system); err != nil {
		n.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
