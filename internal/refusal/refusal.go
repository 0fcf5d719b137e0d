// Package refusal proves that the refusals of docs/errors.md come up. A test
// promises the kinds that it produces, and fails when one of them did not come
// to it by its end:
//
//	func TestHostileDepth(t *testing.T) {
//		refusal.Produces(t, jobspec.KindDepth)
//		_, err := tree.Read(...)
//		if !refusal.Is(t, err, jobspec.KindDepth) {
//			t.Errorf("Read = %v, want E_DEPTH", err)
//		}
//	}
//
// Invariant: a promise is the first thing a test says, with the names of the
// kinds, so that docs/errors.md takes its last column from the source.
package refusal

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// seen holds the kinds that came to each test which has promised some.
var seen = struct {
	sync.Mutex
	kinds map[string][]jobspec.Kind
}{kinds: map[string][]jobspec.Kind{}}

// testOf returns the name of the test that t is or is part of.
func testOf(t testing.TB) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

// Produces fails t at its end when [Is] did not see each of these kinds in it
// or below it. A test that was skipped, or of which -run chose a part, is not
// held to it.
func Produces(t testing.TB, kinds ...jobspec.Kind) {
	t.Helper()
	name := testOf(t)
	t.Cleanup(func() {
		seen.Lock()
		got := seen.kinds[name]
		delete(seen.kinds, name)
		seen.Unlock()
		if t.Skipped() || strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
			return
		}
		for _, k := range kinds {
			if !slices.Contains(got, k) {
				t.Errorf("%s came up nowhere in this test, which promises it for docs/errors.md; it saw %v", k, got)
			}
		}
	})
}

// Is reports whether err is of kind, and notes it for [Produces].
func Is(t testing.TB, err error, kind jobspec.Kind) bool {
	if !errors.Is(err, kind.Error()) {
		return false
	}
	seen.Lock()
	defer seen.Unlock()
	seen.kinds[testOf(t)] = append(seen.kinds[testOf(t)], kind)
	return true
}
