package testenv_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// verdict is a test that notes what would have ended it first.
type verdict struct {
	testing.TB
	got string
}

func (v *verdict) Helper()               {}
func (v *verdict) Fatalf(string, ...any) { v.end("failed") }
func (v *verdict) Skipf(string, ...any)  { v.end("skipped") }

func (v *verdict) end(how string) {
	if v.got == "" {
		v.got = how
	}
}

func TestNeed(t *testing.T) {
	missing := errors.New("not here")
	for _, c := range []struct {
		require, part string
		err           error
		want          string
	}{
		{"", "docker", nil, ""},
		{"", "docker", missing, "skipped"},
		{"docker", "docker", missing, "failed"},
		{"kubo,docker", "docker", missing, "failed"},
		{"kubo", "docker", missing, "skipped"},
		{"docker-in-docker", "docker", missing, "skipped"},
		{"docker", "docker", nil, ""},
	} {
		t.Setenv(testenv.RequireVar, c.require)
		v := &verdict{TB: t}
		testenv.Need(v, c.part, c.err)
		if v.got != c.want {
			t.Errorf("Need(%s, %v) with %s=%q: %q, want %q", c.part, c.err, testenv.RequireVar, c.require, v.got, c.want)
		}
	}
}

func TestDockerAbsent(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
	if testenv.HasDocker() {
		t.Error("HasDocker() = true without an engine")
	}
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	if testenv.HasDocker() {
		t.Error("HasDocker() = true for an engine elsewhere")
	}
}
