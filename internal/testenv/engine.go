package testenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Engine starts a second Docker engine, which has no image, no network and no
// registry, and returns its address. It lies in a network namespace of its own:
// beside another one on the same network it would take that one's bridge away.
// It needs the parts "docker" and "netns", and ends with the test.
func Engine(t testing.TB) string {
	t.Helper()
	Docker(t)
	_, err := exec.LookPath("dockerd")
	Need(t, "docker", err)
	network := NetNS(t)
	network.Add("engine")
	dir, err := os.MkdirTemp("", "engine-") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "daemon.json") // not that of the machine's engine
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host, said := "unix://"+filepath.Join(dir, "docker.sock"), &Log{}
	// Not by ip netns exec, which hides mounts that are made later.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "nsenter", "--net=/run/netns/"+network.prefix+"engine", "dockerd",
		"--config-file", config, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", host, "--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Wait() // it ends by a signal
		if t.Failed() {
			t.Logf("engine log:\n%s", said)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove engine: %v", err)
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); ping(host) != nil; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the engine does not answer:\n%s", said)
		}
	}
	return host
}
