package main

import "testing"

func TestGroupPath(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "/jobs": "/jobs", "/a/b": "/a/b",
		"jobs.slice": "/jobs.slice", "a-b-c.slice": "/a.slice/a-b.slice/a-b-c.slice",
	} {
		if got, err := groupPath(in); err != nil || got != want {
			t.Errorf("groupPath(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"/", "jobs", "/a/../b", "/a/", "a/b.slice", "/a/b.slice", ".slice", "-a.slice", "a--b.slice", "a-.slice"} {
		if got, err := groupPath(in); err == nil {
			t.Errorf("groupPath(%q) = %q, want a refusal", in, got)
		}
	}
}
