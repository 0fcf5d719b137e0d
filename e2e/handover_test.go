package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/internal/testenv"
)

// A job is handed over by messages through a real mosquitto. The member is
// killed and starts again while somebody waits at the other node, who gets the
// CID that a node alone gives.
func TestHandOverToMember(t *testing.T) {
	parallel(t)
	a, b := newMember(t), newMember(t)
	b.joins(a)
	const password = "only for this test"
	broker := testenv.Mosquitto(t, map[string]string{a.peerID(): password, b.peerID(): password}, mqtt.MosquittoACL(bus.DomainID(a.domain().ID)), "", "")
	for _, n := range []*node{a, b} {
		file := filepath.Join(n.dir, "broker.password")
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		n.env = append(n.env, "IPDC_BROKER_PASSWORD_FILE="+file)
		n.over("--broker", "mqtt://"+broker.Addr)
	}
	a.hears(b)
	b.hears(a)
	data := t.TempDir()
	write(t, data, "one", "content of one\n")
	write(t, data, "two", "content of two\n")
	root := a.ok("add", "-q", data)
	b.ok("pin", "add", root) // so that it runs the tasks as well
	a.ok("pin", "rm", root)
	a.ok("node", "gc")

	var out, talk bytes.Buffer
	submit := exec.Command(filepath.Join(a.bin, "ipdc"), "job", "submit", "--to", "12D3KooW", "--name", "far", "-e", "echo at work >&2; sleep 2; cat", "-c", root)
	submit.Env, submit.Stdout, submit.Stderr = a.env, &out, &talk
	if err := submit.Start(); err != nil {
		t.Fatal(err)
	}
	a.await("a container at the member", 30*time.Second, func() bool { return len(b.containers()) > 0 })
	b.kill()
	if r := a.fails(5, "job", "describe", "far"); !strings.Contains(r.stderr, b.peerID()) || !strings.Contains(r.stderr, "cannot be reached") {
		t.Errorf("describe without the member: %s", r.stderr)
	}
	b.start()
	if err := submit.Wait(); err != nil {
		t.Fatalf("submit: %v\n%s", err, talk.String())
	}
	a.hears(b) // again, as who gives it jobs has to
	if got := strings.TrimSpace(out.String()); got != root {
		t.Errorf("result = %q, want the copied %s\n%s", got, root, talk.String())
	}
	if got := a.ok("job", "logs", "far"); strings.Count(got, "at work") != 0 {
		t.Errorf("standard output has %q", got)
	}
	if r := a.ipdc("job", "logs", "@last"); strings.Count(r.stderr, "at work") != 2 {
		t.Errorf("log = %+v, want two lines of the program", r)
	}
	if got := a.ok("job", "wait", "far"); got != root {
		t.Errorf("wait = %s", got)
	}
	a.ok("job", "get", "far", filepath.Join(t.TempDir(), "got"))
	if j := a.job("far"); j.Member != b.peerID() || len(b.ok("job", "list", "-q", "-A")) == 0 {
		t.Errorf("the job is at %q, want it at the member", j.Member)
	}

	// Ctrl-C leaves the job running, and says how to stop it; stop reaches it.
	submit = exec.Command(filepath.Join(a.bin, "ipdc"), "job", "submit", "--to", "any", "--name", "long", "-e", "sleep 600", "-c", root)
	var said testenv.Log
	submit.Env, submit.Stderr = a.env, &said
	if err := submit.Start(); err != nil {
		t.Fatal(err)
	}
	a.await("the submit", 30*time.Second, func() bool { return strings.Contains(said.String(), "submitted") })
	_ = submit.Process.Signal(os.Interrupt)
	_ = submit.Wait()
	if code := submit.ProcessState.ExitCode(); code != 130 || !strings.Contains(said.String(), "ipdc job stop "+a.job("long").ID.String()) {
		t.Errorf("after Ctrl-C exit code %d: %s", code, said.String())
	}
	a.ok("job", "stop", "long")
	if r := a.fails(8, "job", "wait", "long"); !strings.Contains(r.stderr, "stopped") {
		t.Errorf("wait for a stopped job: %s", r.stderr)
	}

	for what, c := range map[string]struct {
		code int
		args []string
	}{
		"unknown": {4, []string{"--to", "12D3KooWnobody"}},
		"itself":  {2, []string{"--to", a.peerID()}},
		"refused": {5, []string{"--to", b.peerID(), "--cpu", "9999"}},
		"nobody":  {5, []string{"--to", "any", "--cpu", "9999"}},
	} {
		if r := a.fails(c.code, append([]string{"job", "submit", "-e", "cat", "-c", root}, c.args...)...); !strings.Contains(r.stderr, "E_") {
			t.Errorf("%s: %s", what, r.stderr)
		}
	}

	// A job of a member that is gone stays until who has it says that it is given up.
	id := a.job("far").ID.String()
	b.kill()
	if r := a.ipdc("job", "rm", "far"); r.code == 0 || !strings.Contains(r.stderr, "ipdc job rm --force "+id) {
		t.Errorf("rm of a job whose member is gone: %+v", r)
	}
	if r := a.ipdc("job", "rm", "--force", "far"); r.code != 0 || strings.TrimSpace(r.stdout) != id || !strings.Contains(r.stderr, "given up") {
		t.Errorf("rm --force of it: %+v, want %s", r, id)
	}
	if list := a.ok("job", "list", "-q"); strings.Contains(list, id) {
		t.Errorf("after that the jobs are\n%s", list)
	}
	b.start()
}
