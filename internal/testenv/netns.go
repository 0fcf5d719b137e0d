package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Network is a set of network namespaces of a test's own.
type Network struct {
	t      testing.TB
	prefix string
}

// NetNS returns an empty Network. It needs root, ip and iptables, and is named
// netns in [RequireVar]. What it makes goes with the test.
func NetNS(t testing.TB) *Network {
	t.Helper()
	n := &Network{t: t, prefix: "ipdct" + strconv.Itoa(os.Getpid()) + "-"}
	Need(t, "netns", n.possible())
	return n
}

func (n *Network) possible() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("iptables"); err != nil {
		return err
	}
	probe := n.prefix + "probe"
	if err := run("ip", "netns", "add", probe); err != nil {
		return err
	}
	err := run("ip", "netns", "exec", probe, "iptables", "-t", "nat", "-L", "-n")
	return errors.Join(err, run("ip", "netns", "del", probe))
}

// Add makes namespaces with loopback up.
func (n *Network) Add(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.must("ip", "netns", "add", n.prefix+name)
		n.t.Cleanup(func() {
			if err := run("ip", "netns", "del", n.prefix+name); err != nil {
				n.t.Error(err)
			}
		})
		n.In(name, "ip link set lo up")
	}
}

// Link joins two namespaces by a cable whose ends are called devA and devB.
func (n *Network) Link(a, devA, b, devB string) {
	n.t.Helper()
	n.must("ip", "link", "add", devA, "netns", n.prefix+a, "type", "veth", "peer", "name", devB, "netns", n.prefix+b)
	n.In(a, "ip link set "+devA+" up")
	n.In(b, "ip link set "+devB+" up")
}

// In runs a command, words between spaces, in a namespace.
func (n *Network) In(name, command string) {
	n.t.Helper()
	n.must("ip", append([]string{"netns", "exec", n.prefix + name}, strings.Fields(command)...)...)
}

// Enter returns the words in front of a command that make it run in a
// namespace, and in nothing else of its own: what it mounts is seen outside.
func (n *Network) Enter(name string) []string {
	return []string{"nsenter", "--net=/run/netns/" + n.prefix + name}
}

// Command returns a command that will run in a namespace, with mounts of its own.
func (n *Network) Command(name string, words ...string) *exec.Cmd {
	return exec.CommandContext(n.t.Context(), "ip", append([]string{"netns", "exec", n.prefix + name}, words...)...)
}

func (n *Network) must(name string, args ...string) {
	n.t.Helper()
	if err := run(name, args...); err != nil {
		n.t.Fatal(err)
	}
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
