package symlink_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/ipfs/internal/symlink"
	"github.com/ipdc/ipdc/jobspec"
)

func TestTree(t *testing.T) {
	chain := func(n int) (links []string) {
		for i := range n {
			links = append(links, fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1))
		}
		return links
	}
	for _, tc := range []struct {
		name  string
		links []string // path, target, path, target, ...
		bad   bool
	}{
		{"none", nil, false},
		{"sibling", []string{"a", "b"}, false},
		{"to the root itself", []string{"d/a", ".."}, false},
		{"down and up", []string{"d/a", "../d/./e/../b//"}, false},
		{"dangling", []string{"a", "no/such/file"}, false},
		{"C11 absolute", []string{"a", "/etc/shadow"}, true},
		{"C12 lexical escape", []string{"d/a", "../../x"}, true},
		{"C12 escape in the middle", []string{"a", "d/../../t/x"}, true},
		{"C12 chained escape", []string{"d/up", "..", "a", "d/up/../x"}, true},
		{"C12 chained escape through two", []string{"d/e/up", "../..", "d/via", "e/up", "a", "d/via/../x"}, true},
		{"chain that stays inside", []string{"d/e/up", "..", "a", "d/e/up/x"}, false},
		{"loop", []string{"a", "b", "b", "a"}, true},
		{"self", []string{"a", "a"}, true},
		{"40 links", chain(40), false},
		{"42 links", chain(42), true},
		{"C15 empty", []string{"a", ""}, true},
		{"C15 NUL", []string{"a", "b\x00"}, true},
		{"C15 1 MiB", []string{"a", strings.Repeat("x", 1<<20)}, true},
		{"many names", []string{"a", strings.Repeat("x/", 600)}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var tree symlink.Tree
			var errs []error
			for i := 0; i < len(tc.links); i += 2 {
				errs = append(errs, tree.Add(tc.links[i], tc.links[i+1]))
			}
			err := errors.Join(append(errs, tree.Check())...)
			if bad := errors.Is(err, jobspec.KindSymlink.Error()); bad != tc.bad || bad != (err != nil) {
				t.Errorf("Add and Check = %v, want an error: %v", err, tc.bad)
			}
		})
	}
}
