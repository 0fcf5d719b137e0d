package e2e

import (
	"slices"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	n := newNode(t)
	var list []struct{ Check, Status, Finding, Advice string }
	n.decode(&list, "doctor", "-o", "json") // exit code 0: a job can run here
	var seen []string
	for _, f := range list {
		seen = append(seen, f.Check)
		if f.Status == "fail" || f.Check == "images" && f.Status != "ok" || f.Check == "node" && !strings.Contains(f.Finding, n.id) {
			t.Errorf("%+v", f)
		}
	}
	for _, want := range []string{"node", "blocks", "ipfs", "engine", "runc", "storage", "cgroup", "runtimes", "cis", "userns", "images", "guest", "outputs", "disk", "clock", "kvm", "ca", "index"} {
		if !slices.Contains(seen, want) {
			t.Errorf("no finding about %s in %q", want, seen)
		}
	}
	n.stop()
	if r := n.ipdc("doctor"); r.code != 0 || !strings.Contains(r.stdout, "ipdc node start -d") {
		t.Errorf("without the node: %+v", r)
	}
}
