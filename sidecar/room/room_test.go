package room_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/room"
	"github.com/ipdc/ipdc/wire"
)

// machine is a disk with a block store and a cache on it, of which some is
// garbage.
type machine struct {
	size, free              jobspec.Bytes
	blocks, garbage, cached jobspec.Bytes
	collections, trimmed    int
	collected               chan struct{}
}

func (m *machine) keeper(change func(*room.Config)) *room.Keeper {
	cfg := room.Config{
		Dir: "/state", GCEvery: time.Hour, Every: time.Millisecond,
		Disk: func(string) (jobspec.Bytes, jobspec.Bytes, error) { return m.size, m.free, nil },
		Stat: func(context.Context) (ipfs.Stat, error) { return ipfs.Stat{Bytes: int64(m.blocks)}, nil },
		GC: func(context.Context) (ipfs.Stat, error) {
			freed := m.garbage
			m.blocks, m.free, m.garbage = m.blocks-freed, m.free+freed, 0
			if m.collections++; m.collected != nil {
				m.collected <- struct{}{}
			}
			return ipfs.Stat{Blocks: int64(freed / jobspec.MiB), Bytes: int64(freed)}, nil
		},
		Trim: func(n int64) {
			freed := min(jobspec.Bytes(n), m.cached)
			m.cached, m.free = m.cached-freed, m.free+freed
			m.trimmed++
		},
	}
	change(&cfg)
	return room.New(cfg)
}

func wantRefusal(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, jobspec.KindLimit.Error()) {
		t.Fatalf("error %v, want E_LIMIT", err)
	}
	f := jobspec.AsFailure(err)
	for _, w := range append(words, "ipdc node gc", "ipdc job prune") {
		if !strings.Contains(f.Where+" "+f.Detail+" "+f.Hint, w) {
			t.Errorf("refusal %+v does not say %q", f, w)
		}
	}
}

// Status shows what the refusals are made of.
func TestStorage(t *testing.T) {
	m := &machine{size: 100 * jobspec.GiB, free: 7 * jobspec.GiB, blocks: jobspec.GiB}
	k := m.keeper(func(c *room.Config) { c.MaxBlocks = 3 * jobspec.GiB })
	want := wire.Storage{Free: 7 * jobspec.GiB, MinFree: 5 * jobspec.GiB, Max: 3 * jobspec.GiB}
	if got, err := k.Storage(t.Context()); err != nil || got != want {
		t.Errorf("Storage() = %+v, %v, want %+v", got, err, want)
	}
}

// A stream is let through for 16 MiB at a time.
func TestReader(t *testing.T) {
	full := jobspec.KindLimit.Errorf("the disk is full")
	for looks, want := range map[int]int64{0: 16 << 20, 1: 32 << 20, 9: 40 << 20} {
		left := looks
		r := room.Reader(io.LimitReader(zeros{}, 40<<20), func() error {
			if left--; left < 0 {
				return full
			}
			return nil
		})
		n, err := io.Copy(io.Discard, r)
		if (err == nil) != (looks == 9) || n < want || n > want+1<<20 {
			t.Errorf("with %d looks %d bytes came, %v, want about %d", looks, n, err, want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDisk(t *testing.T) {
	m := &machine{size: 100 * jobspec.GiB, free: 3 * jobspec.GiB}
	k := m.keeper(func(c *room.Config) { c.MinFree = 2 * jobspec.GiB })
	if err := k.Admit(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, k.Check(t.Context(), int64(jobspec.GiB)+1), "/state", "3.0 GiB", "2.0 GiB", "--min-free")
	m.free = 1536 * jobspec.MiB
	wantRefusal(t, k.Check(t.Context(), 0), "1.5 GiB")
}

func TestDefaultMark(t *testing.T) {
	for _, c := range []struct{ size, mark jobspec.Bytes }{
		{20 * jobspec.GiB, jobspec.GiB},
		{1000 * jobspec.GiB, 10 * jobspec.GiB},
	} {
		m := &machine{size: c.size, free: c.mark}
		k := m.keeper(func(*room.Config) {})
		if err := k.Check(t.Context(), 0); err != nil {
			t.Errorf("with %s free of %s: %v", c.mark, c.size, err)
		}
		m.free--
		wantRefusal(t, k.Check(t.Context(), 0))
	}
}

func TestStorageMax(t *testing.T) {
	m := &machine{size: 100 * jobspec.GiB, free: 90 * jobspec.GiB, blocks: 10 * jobspec.GiB}
	k := m.keeper(func(c *room.Config) { c.MaxBlocks = 10 * jobspec.GiB })
	if err := k.Check(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, k.Check(t.Context(), 1), "block store", "10.0 GiB", "--storage-max")
}

// TestRunCollectsUnderPressure has garbage on a disk that is nearly full; the
// control has as much garbage and no pressure.
func TestRunCollectsUnderPressure(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine, *room.Config)
		want   bool
	}{
		"free disk":   {func(m *machine, c *room.Config) { m.free, c.MinFree = 1050*jobspec.MiB, jobspec.GiB }, true},
		"storage-max": {func(m *machine, c *room.Config) { m.blocks, c.MaxBlocks = 950*jobspec.MiB, 1000*jobspec.MiB }, true},
		"the period":  {func(_ *machine, c *room.Config) { c.GCEvery = time.Millisecond }, true},
		"no pressure": {func(m *machine, c *room.Config) { m.blocks, c.MaxBlocks = 850*jobspec.MiB, 1000*jobspec.MiB }, false},
		"a later mark": {func(m *machine, c *room.Config) {
			m.blocks, c.MaxBlocks, c.GCAt = 950*jobspec.MiB, 1000*jobspec.MiB, 99
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := &machine{size: 100 * jobspec.GiB, free: 90 * jobspec.GiB, garbage: 500 * jobspec.MiB, collected: make(chan struct{}, 1000)}
			looks := make(chan struct{})
			k := m.keeper(func(cfg *room.Config) {
				c.change(m, cfg)
				disk := cfg.Disk
				cfg.Disk = func(dir string) (jobspec.Bytes, jobspec.Bytes, error) {
					select {
					case looks <- struct{}{}:
					case <-t.Context().Done():
					}
					return disk(dir)
				}
			})
			room.Rested(k)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- k.Run(ctx) }()
			got := false
			for n := 0; n < 50 && !got; n++ {
				select {
				case <-looks:
				case <-m.collected:
					got = true
				}
			}
			cancel()
			for {
				select {
				case <-looks:
					continue
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
				}
				break
			}
			if got != c.want {
				t.Errorf("collected: %v, want %v", got, c.want)
			}
		})
	}
}

func TestAdmitCollectsFirst(t *testing.T) {
	m := &machine{size: 100 * jobspec.GiB, free: jobspec.GiB, garbage: 2 * jobspec.GiB, cached: jobspec.GiB}
	k := m.keeper(func(c *room.Config) { c.MinFree = 2 * jobspec.GiB })
	room.Rested(k)
	if err := k.Admit(t.Context(), 0); err != nil {
		t.Errorf("Admit with garbage to collect: %v", err)
	}
	if m.collections != 1 || m.trimmed != 1 || m.cached != 0 {
		t.Errorf("%d collections, %d trims, %s cached", m.collections, m.trimmed, m.cached)
	}
	m.free = jobspec.GiB
	wantRefusal(t, k.Admit(t.Context(), 0), "1.0 GiB")
	if m.collections != 1 {
		t.Error("it collected again at once")
	}
}

// TestForeignStore has no GC, as a Kubo of others.
func TestForeignStore(t *testing.T) {
	m := &machine{size: 100 * jobspec.GiB, free: jobspec.GiB}
	k := m.keeper(func(c *room.Config) { c.MinFree, c.GC, c.Trim = 2*jobspec.GiB, nil, nil })
	room.Rested(k)
	wantRefusal(t, k.Admit(t.Context(), 0))
}

// TestAdmitAfterAnotherCollection has room made by somebody else between
// Admit's look and its turn.
func TestAdmitAfterAnotherCollection(t *testing.T) {
	m := &machine{size: 100 * jobspec.GiB, free: jobspec.GiB}
	k := m.keeper(func(c *room.Config) {
		c.MinFree = 2 * jobspec.GiB
		c.Disk = func(string) (jobspec.Bytes, jobspec.Bytes, error) {
			free := m.free
			m.free = 3 * jobspec.GiB
			return m.size, free, nil
		}
	})
	if err := k.Admit(t.Context(), 0); err != nil {
		t.Errorf("Admit = %v, with 3 GiB free by then", err)
	}
	if m.collections != 0 {
		t.Errorf("%d collections, want none so soon after the last", m.collections)
	}
}

// TestRunWhileAdmitCollects is one for the race detector: Run looks while
// Admit's collection is on its way.
func TestRunWhileAdmitCollects(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var k *room.Keeper
	var begun atomic.Bool
	var once sync.Once
	looked, ended := make(chan struct{}), make(chan error, 1)
	k = (&machine{}).keeper(func(c *room.Config) {
		c.MinFree = 2 * jobspec.GiB
		c.Disk = func(string) (jobspec.Bytes, jobspec.Bytes, error) {
			if begun.Load() {
				once.Do(func() { close(looked) })
			}
			return 100 * jobspec.GiB, jobspec.GiB, nil
		}
		c.GC = func(context.Context) (ipfs.Stat, error) {
			begun.Store(true)
			go func() { ended <- k.Run(ctx) }()
			<-looked
			return ipfs.Stat{}, nil
		}
	})
	room.Rested(k)
	wantRefusal(t, k.Admit(ctx, 0), "1.0 GiB")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
