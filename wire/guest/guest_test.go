package guest_test

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/wire/guest"
)

func TestValidPath(t *testing.T) {
	for _, p := range []string{"a", "a/b.txt", "ä/ö ü", "..a", "a..", ".ipdc/x", "-rm", "a\\b"} {
		if !guest.ValidPath(p) {
			t.Errorf("ValidPath(%q) = false, want true", p)
		}
	}
	bad := []string{
		"", ".", "..", "/", "/a", "a/", "a//b", "./a", "a/./b", "../a", "a/../b", "a/..",
		"a\x00b", "a\nb", "a\x1bb", "a\x7f", "a\u0085", "\xff", strings.Repeat("a/", 2048) + "a",
	}
	for _, p := range bad {
		if guest.ValidPath(p) {
			t.Errorf("ValidPath(%q) = true, want false", p)
		}
	}
}

func TestTaskValidate(t *testing.T) {
	ok := guest.Task{Command: []string{"sh"}, Feed: guest.FeedStdin, Items: []guest.Item{{Path: "a/b"}}}
	if err := ok.Validate(); err != nil {
		t.Errorf("Validate(%+v) = %v, want nil", ok, err)
	}
	for name, bad := range map[string]guest.Task{
		"no command":   {},
		"empty argv 0": {Command: []string{""}},
		"unknown feed": {Command: []string{"sh"}, Feed: "pipe"},
		"bad path":     {Command: []string{"sh"}, Items: []guest.Item{{Path: "ok"}, {Path: "../b"}}},
	} {
		if bad.Validate() == nil {
			t.Errorf("%s: Validate(%+v) = nil, want an error", name, bad)
		}
	}
}
