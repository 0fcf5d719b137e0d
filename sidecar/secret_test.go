package sidecar

import (
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/pip"
)

// The password of the package index is seen by pip alone: by no user's image,
// no package that is built, and no job that was not made for an installation.
func TestIndexPassword(t *testing.T) {
	index, err := pip.ParseIndex("https://u:secret@pkgs.example/simple")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"A=b", pip.EnvIndex + "=" + index.Public()}
	sees := func(parent jobspec.JobID, req pip.Request) bool {
		req.Index, req.Limits = index, jobspec.Resources{CPU: 1000, Memory: jobspec.GiB, Disk: jobspec.GiB}
		r := &runner{course: &course{driver: &driver{Sidecar: &Sidecar{cfg: Config{Index: index}}}, job: jobspec.Job{Parent: parent, Spec: pip.Job(req)}}}
		return strings.Contains(strings.Join(r.secretEnv(slices.Clone(env)), " "), "secret")
	}
	if !sees("x", pip.Request{Image: "python"}) {
		t.Error("pip in the stock image does not see the password, so that it cannot install")
	}
	for name, seen := range map[string]bool{
		"a user's job":     sees("", pip.Request{Image: "python"}),
		"a user's image":   sees("x", pip.Request{Image: "sha256:" + strings.Repeat("0", 64)}),
		"an image by name": sees("x", pip.Request{Image: "example.org/python"}),
		"built packages":   sees("x", pip.Request{Image: "python", AllowBuild: true}),
	} {
		if seen {
			t.Errorf("%s sees the password", name)
		}
	}
}
