package inputcache_test

import (
	"testing"

	"github.com/ipdc/ipdc/sidecar/inputcache"
)

func TestEviction(t *testing.T) {
	s := &stager{}
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, MaxBytes: 250, Stage: s.stage})
	used, release := acquire(t, c, mustCID(t, 0)) // the oldest, in use
	for _, n := range []int{1, 2, 1, 3} {         // 2 is the one used least recently
		_, done := acquire(t, c, mustCID(t, n))
		done()
	}
	wantWhole(t, used, mustCID(t, 0))
	release()
	before := s.calls.Load()
	_, done := acquire(t, c, mustCID(t, 3))
	done()
	if s.calls.Load() != before {
		t.Error("the entry used last was evicted")
	}
	must(t, c.Close())
	if got := names(t, dir); len(got) > 2 {
		t.Errorf("%d entries of 100 bytes are left, the bound is 250", len(got))
	}
}

func TestTrim(t *testing.T) {
	s := &stager{}
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, MaxBytes: 1000, Stage: s.stage})
	used, release := acquire(t, c, mustCID(t, 0))
	defer release()
	for n := 1; n <= 4; n++ {
		_, done := acquire(t, c, mustCID(t, n))
		done()
	}
	c.Trim(150) // two of 100 bytes
	before := s.calls.Load()
	_, done := acquire(t, c, mustCID(t, 4))
	done()
	if s.calls.Load() != before {
		t.Error("the entry used last was removed")
	}
	c.Trim(1 << 40)
	wantWhole(t, used, mustCID(t, 0))
	must(t, c.Close())
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("%d entries are left, want the one in use", len(got))
	}
}

func TestAllInUseMayExceedTheBound(t *testing.T) {
	dir := t.TempDir()
	c := open(t, inputcache.Config{Dir: dir, MaxBytes: 150, Stage: (&stager{}).stage})
	var releases []func()
	var entries []inputcache.Entry
	for n := range 4 {
		e, release := acquire(t, c, mustCID(t, n))
		entries, releases = append(entries, e), append(releases, release)
	}
	for n, e := range entries {
		wantWhole(t, e, mustCID(t, n))
	}
	for _, release := range releases {
		release()
	}
	must(t, c.Close())
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("after the release of all %d entries are left, want 1", len(got))
	}
}
