package sidecar

import (
	"errors"
	"testing"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
)

func TestCheckModule(t *testing.T) {
	c, err := jobspec.ParseCID("bafkqaaa")
	if err != nil {
		t.Fatal(err)
	}
	whole := jobspec.Run{Image: "wasm", Code: c}
	withPackages := whole
	withPackages.Requirements = c
	for name, s := range map[string]struct {
		spec  jobspec.Spec
		where string
	}{
		"module":       {jobspec.Spec{Run: whole}, ""},
		"no code":      {jobspec.Spec{}, "run.code"},
		"network":      {jobspec.Spec{Run: whole, Network: []string{"example.org:443"}}, "network"},
		"strict":       {jobspec.Spec{Run: whole, Isolation: jobspec.IsolationStrict}, "isolation"},
		"requirements": {jobspec.Spec{Run: withPackages}, "run.requirements"},
	} {
		err := checkModule(s.spec, images.Image{Arch: "wasm"})
		if (err == nil) != (s.where == "") || err != nil && (!errors.Is(err, jobspec.KindSpec.Error()) || jobspec.AsFailure(err).Where != s.where) {
			t.Errorf("%s: %v, want a refusal at %q", name, err, s.where)
		}
		if err := checkModule(s.spec, images.Image{Arch: "amd64"}); err != nil {
			t.Errorf("%s with another image: %v", name, err)
		}
	}
}
