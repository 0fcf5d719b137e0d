package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// The owner of a job is killed for good in the middle of it, in a domain of
// four, and with it the founder and leader of its keepers: another member ends
// the job with the CID that a node alone gives, each member tells so, and the
// old owner, should it come back, publishes nothing.
func TestF57OwnerIsKilledForGood(t *testing.T) {
	parallel(t)
	const lease = "IPDC_LEASE=3s" // of a minute, of which the test would wait for three
	owner := newMember(t, lease)
	dir := t.TempDir()
	for i := range 12 {
		write(t, dir, fmt.Sprintf("%d/%02d.txt", i%3, i), strings.Repeat(fmt.Sprintf("line of file %02d\n", i), 500))
	}
	root := owner.ok("add", "-q", dir)
	others := make([]*node, 3)
	for i := range others {
		others[i] = newMember(t, lease)
		others[i].joins(owner)
		others[i].ok("pin", "add", root)
	}
	for _, n := range append(others, owner) {
		n.await("keepers", time.Minute, func() bool { k := n.keepers(); return k.Active() && k.Leader != "" })
	}
	id := owner.ok("job", "submit", "-d", "-e", owner.neverEnds()+"cat", "--expose", "node", "--cache", "off", "-c", root)
	owner.awaitWork(id, owner)
	owner.await("tasks at others", time.Minute, func() bool {
		return slices.ContainsFunc(owner.job(id).Attempts, func(a jobspec.Attempt) bool { return a.Node != owner.peerID() })
	})
	owner.kill()

	heir := others[0].heir(id, others...)
	if got := heir.ok("job", "wait", id); got != root {
		t.Errorf("job wait prints %q, want the copied dataset %s", got, root)
	}
	for _, n := range others {
		j := n.job(id)
		if j.Result.String() != root || j.State != jobspec.JobSucceeded {
			t.Errorf("a member tells that the job is %s with %q", j.State, j.Result)
		}
		if j.Recorded != nil && (j.Recorded.Epoch != 2 || j.Recorded.Owner.String() != heir.peerID()) {
			t.Errorf("a member tells %+v, want the second epoch, of %s", j.Recorded, heir.peerID())
		}
	}
	if out := others[0].ok("job", "describe", id); !strings.Contains(out, root) || !strings.Contains(out, "epoch 2") {
		t.Errorf("job describe:\n%s", out)
	}

	owner.start()
	if r := owner.fails(6, "job", "wait", id); !strings.Contains(r.stderr, heir.peerID()) {
		t.Errorf("the old owner does not say who has the job: %s", r.stderr)
	}
	if j := owner.job(id); j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindLeaseLost || j.Result.Defined() {
		t.Errorf("the old owner has the job %s with %q: %+v", j.State, j.Result, j.Failure)
	}
	owner.comesToRest()
}

// keepers is what the node knows of those of its domain.
func (n *node) keepers() wire.Keepers {
	n.t.Helper()
	status, err := n.client().Node(n.t.Context())
	if err != nil {
		return wire.Keepers{} // it is put together anew
	}
	return status.Keepers
}

// heir waits until one of some nodes owns a job.
func (n *node) heir(id string, of ...*node) (heir *node) {
	n.t.Helper()
	n.await("another owner of the job", time.Minute, func() bool {
		for _, m := range of {
			if r := m.ipdc("job", "describe", id); r.code == 0 && strings.Contains(r.stdout, "held by the domain's keepers") {
				heir = m
			}
		}
		return heir != nil
	})
	return heir
}
