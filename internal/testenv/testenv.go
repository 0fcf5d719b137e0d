// Package testenv finds the real parts that some tests need.
//
//	host := testenv.Docker(t) // skips on a laptop without an engine
//	api, err := client.New(client.WithHost(host))
//
// Invariant: a part that is named in IPDC_TEST_REQUIRE (a comma-separated
// list, "docker,kubo") is never skipped. Its absence fails the test, so that a
// run that should have tested it cannot pass by accident.
package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// RequireVar is the environment variable that names the parts that must be
// there.
const RequireVar = "IPDC_TEST_REQUIRE"

// Required reports whether part is named in [RequireVar].
func Required(part string) bool {
	return slices.Contains(strings.Split(os.Getenv(RequireVar), ","), part)
}

// Need returns when err is nil. Otherwise it skips t with err as the reason,
// or fails it when part is required.
func Need(t testing.TB, part string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if Required(part) {
		t.Fatalf("%s is required by %s: %v", part, RequireVar, err)
	}
	t.Skipf("needs %s: %v", part, err)
}

// Root needs the rights to mount file systems: the part "root".
func Root(t testing.TB) {
	t.Helper()
	var err error
	if os.Geteuid() != 0 {
		err = errors.New("mounting takes root")
	}
	Need(t, "root", err)
}

// Docker returns the address of a Docker engine that answers, from DOCKER_HOST
// or the usual socket.
func Docker(t testing.TB) string {
	t.Helper()
	host := dockerHost()
	Need(t, "docker", ping(host))
	return host
}

// HasDocker reports whether [Docker] would find an engine, for TestMain.
func HasDocker() bool { return ping(dockerHost()) == nil }

func dockerHost() string {
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return host
	}
	return "unix:///var/run/docker.sock"
}

func ping(host string) error {
	return ask(host, "/_ping", func(*http.Response) error { return nil })
}

// ask gets a path of the engine's API.
func ask(host, path string, read func(*http.Response) error) error {
	socket, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		return fmt.Errorf("engine at %s: only a unix socket is used, as tests mount directories of this machine", host)
	}
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	c := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	resp, err := c.Get("http://engine" + path)
	if err != nil {
		return fmt.Errorf("ask the engine at %s: %w", host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the engine at %s: %s", host, resp.Status)
	}
	return read(resp)
}

// Schemathesis returns the script that tests an API by its OpenAPI document,
// once its Python environment is there; it makes that, in build/ below the
// module's root, unless make did.
func Schemathesis(t testing.TB) (script string) {
	t.Helper()
	root, err := moduleRoot()
	if err == nil {
		script = filepath.Join(root, "scripts", "schemathesis.sh")
		var out []byte
		if out, err = exec.Command(script, "install").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
		}
	}
	Need(t, "schemathesis", err)
	return script
}
