package domain_test

import (
	"testing"
	"time"

	"github.com/ipdc/ipdc/domain"
)

// A stamp is the same as long as nothing is written, and another one after each
// change.
func TestStamp(t *testing.T) {
	f := domain.Files{Dir: t.TempDir()}
	if _, err := f.Stamp(); err == nil {
		t.Error("a node that was never born has a stamp")
	}
	key := newKey(t)
	if _, err := f.Born(key.ID(), "host", time.Now()); err != nil {
		t.Fatal(err)
	}
	seen := map[domain.Stamp]string{}
	look := func(what string, fresh bool) {
		t.Helper()
		s, err := f.Stamp()
		if err != nil {
			t.Fatal(err)
		}
		if before, known := seen[s]; known == fresh {
			t.Errorf("after %s the stamp is known: %v (from %q)", what, known, before)
		}
		seen[s] = what
	}
	look("birth", true)
	if _, err := f.Load(); err != nil {
		t.Fatal(err)
	}
	look("a look", false)
	if _, err := f.Revoke(time.Now(), newKey(t).ID()); err != nil {
		t.Fatal(err)
	}
	look("a revocation", true)
	if _, err := f.Create("other", key.ID(), true, time.Now()); err != nil {
		t.Fatal(err)
	}
	look("another domain", true)
}
