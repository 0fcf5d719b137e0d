package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// strictGang is two tasks that greet each other from behind kernels of their own.
const strictGang = `
version: ipdc/v1
isolation: strict
gang: {roles: {a: 1, b: 1}}
resources: {cpu: 0.5, memory: 256MiB, disk: 16MiB}
run:
  image: python
  command:
  - python3
  - -c
  - |
    import json, os, socket, time
    me, all = os.environ["IPDC_TASK"], json.loads(os.environ["IPDC_PEERS"])
    other = all["b" if me == "a-0" else "a"][0].rsplit(":", 1)
    s = socket.create_server(("127.0.0.1", int(os.environ["IPDC_PORT"])))
    def ask():
        while True:
            try:
                with socket.create_connection((other[0], int(other[1])), 5) as c:
                    c.sendall((me + "\n").encode())
                    if said := c.makefile().readline():
                        return said.strip()
            except OSError:
                pass
            time.sleep(0.05)
    def answer():
        c, _ = s.accept()
        heard = c.makefile().readline().strip()
        c.sendall((me + " heard " + heard + "\n").encode())
        c.close()
    said = None
    if me == "a-0":
        answer(); said = ask()
    else:
        said = ask(); answer()
    open("/outputs/said", "w").write(said + " on " + os.uname().release)
`

// Jobs with isolation strict run where the engine has a kernel for them, gangs
// included, and nowhere else.
func TestStrict(t *testing.T) {
	parallel(t)
	testenv.Runtime(t, "runsc")
	n := newNode(t)
	if out := n.ok("node", "status"); !strings.Contains(out, "isolation strict by runsc") {
		t.Errorf("status does not say that strict jobs can run:\n%s", out)
	}
	root := n.ok("job", "submit", write(t, t.TempDir(), "gang.yaml", strictGang))
	for task, want := range map[string]string{"a-0": "b-0 heard a-0", "b-0": "a-0 heard b-0"} {
		dest := filepath.Join(t.TempDir(), "said")
		n.ok("get", root+"/"+task+"/said", dest)
		said, err := os.ReadFile(dest)
		if said := string(said); err != nil || !strings.HasPrefix(said, want) || !strings.Contains(said, "gvisor") {
			t.Errorf("%s was told %q, %v, want %q on gVisor", task, said, err, want)
		}
	}
	n.stop()
	n.args = append(n.args, "--strict-runtime", "nowhere")
	n.start()
	for _, refused := range []result{
		n.fails(5, "job", "submit", "-e", "true", "--once", "--isolation", "strict"),
		n.fails(5, "job", "plan", "-e", "true", "--once", "--isolation", "strict"),
	} {
		for _, want := range []string{"isolation: asks strict, has standard", "scripts/runsc.sh", "strict-runtime"} {
			if !strings.Contains(refused.stderr, want) {
				t.Errorf("the refusal %q does not say %q", refused.stderr, want)
			}
		}
	}
	n.ok("job", "submit", "-e", "true", "--once") // control: the node runs jobs
}
