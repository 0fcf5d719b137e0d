package inputcache_test

import (
	"context"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/inputcache"
)

// A brief entry goes with its last user, however much room there is; others stay.
func TestBrief(t *testing.T) {
	s := &stager{}
	short, long := mustCID(t, 1), mustCID(t, 2)
	dir := t.TempDir()
	cfg := inputcache.Config{
		Dir: dir, Stage: s.stage,
		Brief: func(_ context.Context, c jobspec.CID) bool { return c == short },
	}
	c := open(t, cfg)
	_, first := acquire(t, c, short)
	_, second := acquire(t, c, short)
	_, other := acquire(t, c, long)
	other()
	first()
	if n := len(names(t, dir)); n != 2 {
		t.Errorf("%d entries while one user is left, want 2", n)
	}
	second()
	must(t, c.Close()) // waits for what is removed
	if list := names(t, dir); len(list) != 1 || list[0] != long.String() {
		t.Errorf("left are %v, want %s", list, long)
	}
}
