package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// The shell completes what the node has now.
func TestCompletion(t *testing.T) {
	n := newNode(t)
	cid := n.ok("add", "-q", logsDir(t))
	n.ok("job", "submit", "-e", "wc -c", "-c", cid, "--name", "sizes")
	id := n.ok("job", "list", "-q")
	for _, c := range []struct {
		args       []string
		has, hasnt string
	}{
		{[]string{"job", "describe", ""}, id + "\tsizes succeeded", "Usage"},
		{[]string{"job", "describe", "@"}, "@last", id},
		{[]string{"job", "get", id[:5]}, id, "@last"},
		{[]string{"job", "stop", ""}, ":4", id}, // it has ended
		{[]string{"job", "rm", id, ""}, ":4", id},
		{[]string{"pin", "rm", ""}, cid + "\tuser", "result"},
		{[]string{"pin", "add", ""}, "result", "Usage"},
		{[]string{"job", "submit", "--image", ""}, "shell", "Usage"},
		{[]string{"job", "submit", "-c", ""}, cid, "Usage"},
	} {
		got := ""
		n.await(fmt.Sprintf("complete %q to give %q", c.args, c.has), patience, func() bool { // a shell is not kept waiting for a slow node
			got = n.ok(append([]string{"__complete"}, c.args...)...)
			return strings.Contains(got, c.has)
		})
		if strings.Contains(got, c.hasnt) {
			t.Errorf("complete %q = %q, want %q in it and not %q", c.args, got, c.has, c.hasnt)
		}
	}
}
