package docker_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// gateway returns the host's own address on the engine's bridge.
func (b *bench) gateway(t *testing.T) string {
	t.Helper()
	res, err := b.api.NetworkInspect(bounded(t), "bridge", client.NetworkInspectOptions{})
	if err != nil {
		t.Skipf("needs the engine's bridge network: %v", err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.Network.IPAM.Config {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && c.Subnet.Contains(p.Addr()) {
				return p.Addr().String()
			}
		}
	}
	t.Skip("needs an address of this machine on the engine's bridge network")
	return ""
}

// listen accepts connections like a service of the host until the test ends.
func listen(t *testing.T, network, addr string) string {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.Go(func() error {
		for {
			c, err := l.Accept()
			if err != nil {
				return nil // closed
			}
			c.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		_ = g.Wait()
	})
	return l.Addr().String()
}

// TestSandboxNetwork starts services on the host where Kubo's, Docker's and
// ipdc's own could be, and looks for them.
func TestSandboxNetwork(t *testing.T) {
	runtimes(t, testSandboxNetwork)
}

func testSandboxNetwork(t *testing.T, runtime string) {
	b := newBenchOn(t, runtime)
	bridge := listen(t, "tcp", net.JoinHostPort(b.gateway(t), "0"))
	loopback := listen(t, "tcp", "127.0.0.1:0")
	abstract := listen(t, "unix", "@"+randomName())
	onBridge := func(*container.Config, *container.HostConfig) {}
	onHost := func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "host" }
	withName := func(_ *container.Config, h *container.HostConfig) {
		h.ExtraHosts = []string{"host.docker.internal:host-gateway"}
	}
	for _, c := range []struct {
		name   string
		attack string
		open   opening
	}{
		{"N02 N04 N14 services on the gateway", "dial:" + bridge, onBridge},
		{"N02 N03 N04 S26 services on the host's loopback", "dial:" + loopback, onHost},
		{"N05 host.docker.internal", "resolve:host.docker.internal", withName},
	} {
		t.Run(c.name, func(t *testing.T) {
			failed(t, c.attack, b.try(t, c.attack)[c.attack])
			worked(t, c.attack, b.tryOpen(t, c.open, c.attack)[c.attack])
		})
	}
	t.Run("N07 no name is resolved", func(t *testing.T) {
		for a, o := range b.try(t, "resolve:example.com", "resolve:gateway.docker.internal") {
			failed(t, a, o)
		}
	})
	t.Run("N03 abstract sockets of the host", func(t *testing.T) {
		a := "dial:" + strings.Replace(abstract, "@", "/@", 1)
		failed(t, a, b.try(t, a)[a])
		worked(t, a, b.tryOpen(t, onHost, a)[a])
	})
}

// TestNoPorts is N14: a job publishes nothing.
func TestNoPorts(t *testing.T) {
	b := newBench(t)
	id := b.start(t, b.task("status"))
	if ports := b.inspect(t, string(id)).NetworkSettings.Ports; len(ports) != 0 {
		t.Errorf("N14: a job publishes %v", ports)
	}
}
