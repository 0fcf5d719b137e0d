package repo_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/kubo/repo"
	"github.com/ipdc/ipdc/jobspec"
)

// site is a real Kubo on a network of its own, in which every packet to
// somewhere else is counted.
type site struct {
	t    *testing.T
	n    *testenv.Network
	name string
	ipfs string
	dir  string
	errs *testenv.Log
}

func newSite(t *testing.T, n *testenv.Network, name string) *site {
	t.Helper()
	s := &site{t: t, n: n, name: name, ipfs: testenv.KuboProgram(t), dir: filepath.Join(t.TempDir(), "repo"), errs: &testenv.Log{}}
	n.In(name, "iptables -A OUTPUT -o eth0 ! -d 198.51.100.0/24 -j REJECT")
	s.run("init", "--empty-repo")
	return s
}

func (s *site) command(args ...string) *exec.Cmd {
	cmd := s.n.Command(s.name, append([]string{s.ipfs}, args...)...)
	cmd.Env = append(os.Environ(), "IPFS_PATH="+s.dir, "HOME="+filepath.Dir(s.dir), "LIBP2P_FORCE_PNET=")
	return cmd
}

func (s *site) run(args ...string) string {
	s.t.Helper()
	cmd := s.command(args...)
	var errs testenv.Log
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: ipfs %q: %v\n%s", s.name, args, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// start runs the daemon until the end of the test, and returns when it is ready.
func (s *site) start(env ...string) (said string) {
	s.t.Helper()
	cmd := s.command("daemon")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = s.errs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		_ = cmd.Wait()
	})
	ready := make(chan string, 1)
	go func() {
		defer close(done)
		var b strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "Daemon is ready" {
			b.WriteString(lines.Text() + "\n")
		}
		ready <- b.String()
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case said = <-ready:
	case <-time.After(time.Minute):
	}
	if !strings.Contains(said, "RPC API server listening") {
		s.t.Fatalf("the Kubo at %s did not start:\n%s%s", s.name, said, s.errs)
	}
	return said
}

// asked is how many packets this Kubo has sent to somewhere else.
func (s *site) asked() (packets int) {
	s.t.Helper()
	out, err := s.n.Command(s.name, "iptables", "-nvxL", "OUTPUT").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if _, err := fmt.Sscan(lines[len(lines)-1], &packets); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	return packets
}

// Two Kubos that were made private exchange a block, with private networks
// enforced, and ask nobody for anything, while one that was left as it came
// asks all the time. A third with another key gets nothing.
func TestRealKubo(t *testing.T) {
	n := testenv.NetNS(t)
	names := []string{"a", "b", "other", "public"}
	n.Add(append([]string{"hub"}, names...)...)
	n.In("hub", "ip link add br0 type bridge")
	n.In("hub", "ip link set br0 up")
	sites := map[string]*site{}
	for i, name := range names {
		port := fmt.Sprintf("port%d", i)
		n.Link("hub", port, name, "eth0")
		n.In("hub", "ip link set "+port+" master br0")
		n.In(name, fmt.Sprintf("ip addr add 198.51.100.%d/24 dev eth0", i+1))
		n.In(name, "ip route add default via 198.51.100.254")
		sites[name] = newSite(t, n, name)
	}
	a, b, other, public := sites["a"], sites["b"], sites["other"], sites["public"]
	for s, key := range map[*site][32]byte{a: {1}, b: {1}, other: {2}} {
		r, err := repo.Open(s.dir)
		if err == nil {
			_, err = r.Private(key, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	public.start()
	for _, s := range []*site{a, b, other} {
		said := s.start("LIBP2P_FORCE_PNET=1")
		if !strings.Contains(said, "private network") || strings.Contains(s.errs.String(), "ERROR") {
			t.Errorf("%s says:\n%s%s", s.name, said, s.errs)
		}
	}

	r, err := repo.Open(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Private([32]byte{3}, false); !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("while the Kubo runs: %v", err)
	}
	if changes, err := r.Private([32]byte{1}, true); err != nil || len(changes) != 0 {
		t.Errorf("a dry run while it runs, private already: %v, %v", changes, err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("between us"), 0o600); err != nil {
		t.Fatal(err)
	}
	cid := a.run("add", "--quieter", file)
	at := "/ip4/198.51.100.1/tcp/4001/p2p/" + a.run("id", "-f", "<id>")
	if out, err := other.command("--timeout=3s", "swarm", "connect", at).CombinedOutput(); err == nil {
		t.Errorf("one with another key is let in: %s", out)
	}
	b.run("swarm", "connect", at)
	if got := b.run("cat", cid); got != "between us" {
		t.Errorf("b reads %q", got)
	}
	for late := time.After(time.Minute); public.asked() == 0; {
		select {
		case <-late:
			t.Fatal("control: the Kubo that is not private asks nobody either")
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, s := range []*site{a, b, other} {
		if got := s.asked(); got != 0 {
			t.Errorf("%s has sent %d packets to somewhere else", s.name, got)
		}
	}
}
