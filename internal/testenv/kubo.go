package testenv

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kuboVersion is the one that scripts/kubo.sh builds.
const kuboVersion = "v0.43.0"

// KuboDaemon is a real Kubo on a repository of its own. It listens on the
// loopback interface only, knows no peer and asks nobody for anything.
type KuboDaemon struct {
	API     string // its RPC: http://127.0.0.1:PORT
	Gateway string // its gateway: http://127.0.0.1:PORT
	Repo    string // its directory, IPFS_PATH

	t       testing.TB
	program string
	cmd     *exec.Cmd
	errs    bytes.Buffer // read after Stop only
}

// Kubo starts a Kubo with the import profile unixfs-v1-2025, and ends it with
// the test. configure may change its configuration before it starts.
func Kubo(t testing.TB, configure ...func(config map[string]any)) *KuboDaemon {
	t.Helper()
	k := &KuboDaemon{Repo: t.TempDir(), t: t, program: KuboProgram(t)}
	k.Run("init", "--profile=test,unixfs-v1-2025", "--empty-repo")
	k.configure(configure)
	k.Start()
	t.Cleanup(k.Stop)
	return k
}

// KuboProgram returns the path of the real ipfs: the part "kubo".
func KuboProgram(t testing.TB) string {
	t.Helper()
	program, err := kuboProgram()
	Need(t, "kubo", err)
	return program
}

// kuboProgram finds the program. It is built here only where it is required,
// as that takes minutes.
func kuboProgram() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	program := filepath.Join(root, "build", "tools", "ipfs-"+kuboVersion)
	if _, err := os.Stat(program); err == nil || !Required("kubo") {
		if err != nil {
			err = fmt.Errorf("%w; build it with: scripts/kubo.sh", err)
		}
		return program, err
	}
	if out, err := exec.Command(filepath.Join(root, "scripts", "kubo.sh")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("scripts/kubo.sh: %w\n%s", err, out)
	}
	return program, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
	}
	return "", err
}

// configure writes the configuration: what the profile "test" leaves on that
// would speak to anybody is off.
func (k *KuboDaemon) configure(more []func(map[string]any)) {
	k.t.Helper()
	path := filepath.Join(k.Repo, "config")
	data, err := os.ReadFile(path)
	if err != nil {
		k.t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		k.t.Fatalf("Kubo's configuration: %v", err)
	}
	config["Addresses"].(map[string]any)["Swarm"] = []string{}
	config["Routing"] = map[string]any{"Type": "none"}
	config["Provide"] = map[string]any{"Enabled": false}
	config["HTTPRetrieval"] = map[string]any{"Enabled": false}
	config["Version"] = map[string]any{"SwarmCheckEnabled": false}
	config["Plugins"] = map[string]any{"Plugins": map[string]any{"telemetry": map[string]any{"Disabled": true}}}
	for _, change := range more {
		change(config)
	}
	if data, err = json.MarshalIndent(config, "", "  "); err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// Start starts the daemon, after Stop a second time on the same repository.
func (k *KuboDaemon) Start() {
	k.t.Helper()
	k.cmd = k.command("daemon", "--offline", "--routing=none")
	k.cmd.Stderr = &k.errs
	out, err := k.cmd.StdoutPipe()
	if err == nil {
		err = k.cmd.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = k.cmd.Process.Kill() })
	defer late.Stop()
	ready := false
	for lines := bufio.NewScanner(out); !ready && lines.Scan(); {
		ready = lines.Text() == "Daemon is ready"
	}
	if !ready {
		k.Stop()
		k.t.Fatalf("Kubo did not start:\n%s", k.errs.String())
	}
	k.API, k.Gateway = k.address("api"), k.address("gateway")
}

// address reads where the daemon says it listens, as a URL.
func (k *KuboDaemon) address(file string) string {
	k.t.Helper()
	data, err := os.ReadFile(filepath.Join(k.Repo, file))
	if err != nil {
		k.t.Fatal(err)
	}
	addr := strings.TrimSpace(string(data))
	if rest, ok := strings.CutPrefix(addr, "/ip4/127.0.0.1/tcp/"); ok {
		addr = "http://127.0.0.1:" + rest
	}
	return addr
}

// Stop ends the daemon; without one it does nothing.
func (k *KuboDaemon) Stop() {
	if k.cmd == nil {
		return
	}
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(20*time.Second, func() { _ = k.cmd.Process.Kill() })
	defer late.Stop()
	_ = k.cmd.Wait()
	k.cmd = nil
}

// Run runs a command of ipfs, against the daemon while that runs, and returns
// its output without the last newline.
func (k *KuboDaemon) Run(args ...string) string {
	k.t.Helper()
	cmd := k.command(args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("ipfs %q: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSuffix(string(out), "\n")
}

func (k *KuboDaemon) command(args ...string) *exec.Cmd {
	// Tests clean up after their context has ended.
	cmd := exec.CommandContext(context.WithoutCancel(k.t.Context()), k.program, args...)
	cmd.Env = append(os.Environ(), "IPFS_PATH="+k.Repo, "IPFS_TELEMETRY=off", "DO_NOT_TRACK=1")
	return cmd
}
