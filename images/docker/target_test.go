package docker

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/ipdc/ipdc/jobspec"
)

// Whatever a reference is, a refusal has a kind, and the registry that is held
// against the list is the one that would be asked: two libraries read the name.
func FuzzTarget(f *testing.F) {
	for _, ref := range []string{
		"python", "debian:12", "ghcr.io/a/b@sha256:" + strings.Repeat("0", 64), "localhost:5000/x", "[::1]:5000/x",
		"169.254.169.254/x", "docker.io/ipdc/python:1", "A/b", "a..b/c", "-rm", "user@host/x", "sha256:" + strings.Repeat("a", 64),
	} {
		f.Add(ref)
	}
	s := &Store{cfg: Config{Registries: DefaultRegistries}}
	f.Fuzz(func(t *testing.T, ref string) {
		got, err := parse(ref)
		if err != nil {
			if jobspec.AsFailure(err).Kind != jobspec.KindImageRef {
				t.Errorf("parse(%q) = %v", ref, err)
			}
			return
		}
		if got.named == nil || s.allowed(got) != nil {
			return
		}
		asked, err := name.ParseReference(got.lookup)
		if err != nil {
			return // refused before anything is asked
		}
		want := reference.Domain(got.named)
		if registry := asked.Context().RegistryStr(); registry != want && !(want == "docker.io" && registry == name.DefaultRegistry) {
			t.Errorf("%q is allowed for %s, and %s would be asked", ref, want, registry)
		}
	})
}
