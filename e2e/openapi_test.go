package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/wire"
)

// A real node gives no answer of status 500 and above, none that its OpenAPI
// document does not describe, and takes nothing that the document forbids.
func TestSchemathesis(t *testing.T) {
	script := testenv.Schemathesis(t)
	n := newNode(t, "--registries", "registry.invalid") // a made-up reference must lead nowhere
	n.stop()
	n.start("IPDC_API_RATE=1000000")
	var node wire.Node
	n.decode(&node, "node", "status", "-o", "json")
	empty := t.TempDir()
	n.ok("add", "-r", "-q", empty) // the example CID of the document
	for _, name := range []string{"first", "second", "third"} {
		n.ok("job", "submit", "-q", "--once", "--name", name, "-e", "true")
	}
	cmd := exec.CommandContext(t.Context(), script, "http://"+node.Address)
	cmd.Env = append(os.Environ(), "IPDC_TOKEN="+n.secret())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("schemathesis: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "generated") {
		t.Fatalf("schemathesis sent nothing:\n%s", out)
	}
	t.Logf("%s", out[max(0, len(out)-600):])
	// What it left behind must not keep the node from working.
	n.ok("job", "submit", "-q", "--once", "--cache", "off", "-e", "true")
	for _, id := range strings.Fields(n.ok("job", "list", "-q", "--limit", "500")) {
		n.ipdc("job", "stop", id)
		if r := n.ipdc("job", "wait", "--timeout", "60s", id); r.code == 124 {
			t.Errorf("job %s does not end: %s", id, r.stderr)
		}
	}
}
