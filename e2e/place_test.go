package e2e

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/wire"
)

// Who asks for what no member has is told why at once, and exits with 5; the
// plan shows all members; a label decides who runs it; and a program that asks
// is told of the run.
func TestPlaceByLabel(t *testing.T) {
	parallel(t)
	owner, cloud := newMember(t), newMember(t, "--label", "cloud", "--label", "region=eu")
	cloud.joins(owner)
	root := owner.ok("add", "-q", write(t, t.TempDir(), "data", "some text\n"))

	none := []string{"-e", "cat", "-c", root, "--memory", "512TiB", "--require", "label=cloud"}
	for _, verb := range []string{"submit", "plan"} {
		r := owner.fails(5, append([]string{"job", verb}, none...)...)
		for _, want := range []string{"E_POLICY", "2 members: ", "memory: asks 512TiB, has ", "1 member: label cloud: missing", "ipdc peers"} {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("job %s says %q, want %q in it", verb, r.stderr, want)
			}
		}
	}

	work := []string{"--once", "-e", "env > /outputs/env", "-c", root, "--require", "region=eu", "--expose", "shard,job,node"}
	table := owner.ok(append([]string{"job", "plan"}, work...)...)
	for _, want := range []string{"AGAINST", "(here)", "region: asks eu, has none"} {
		if !strings.Contains(table, want) {
			t.Errorf("job plan prints %q, want %q in it", table, want)
		}
	}
	var p wire.Plan
	owner.decode(&p, append([]string{"job", "plan", "-o", "json"}, work...)...)
	if len(p.Nodes) != 2 || !p.Nodes[0].Here || len(p.Nodes[0].Against) != 1 || p.Nodes[1].Tasks != 1 || p.Nodes[0].Local != 10 {
		t.Errorf("the plan's nodes are %+v", p.Nodes)
	}

	result := owner.ok(append([]string{"job", "submit"}, work...)...)
	job := owner.job("@last")
	if job.Attempts[0].Node != cloud.peerID() {
		t.Errorf("it ran on %s, want %s", job.Attempts[0].Node, cloud.peerID())
	}
	env := owner.ok("get", result+"/env", "-")
	for _, want := range []string{
		"IPDC_JOB=" + job.ID.String(), "IPDC_NODE=" + cloud.peerID(), "IPDC_SHARD_COUNT=1", "IPDC_SHARD_INDEX=0",
		"BACALHAU_PARTITION_COUNT=1", "IPDC_INPUT_ROOT=" + p.Input.String(),
	} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("the program saw %q, want %q in it", env, want)
		}
	}
	if text := owner.ok("job", "describe", "@last"); !strings.Contains(text, "10 B of content") {
		t.Errorf("describe says %q, want the 10 bytes that moved", text)
	}
}
