package memory_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
)

// party joins n members and collects what each of them gets.
func party(t *testing.T, nw *memory.Network, n int) ([]*memory.Bus, []identity.ID, []*[]string) {
	t.Helper()
	var members []*memory.Bus
	var ids []identity.ID
	var got []*[]string
	for range n {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		b, err := nw.Join(key.ID())
		if err != nil {
			t.Fatal(err)
		}
		seen := new([]string)
		go func() {
			_ = b.Receive(context.WithoutCancel(t.Context()), func(d bus.Delivery) { *seen = append(*seen, string(d.Payload)) })
		}()
		members, ids, got = append(members, b), append(ids, key.ID()), append(got, seen)
	}
	return members, ids, got
}

func leave(members []*memory.Bus) {
	for _, b := range members {
		_ = b.Close()
	}
}

// Under a fake clock a network is a function of its script.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fates := map[string][]time.Duration{
			"plain": {0}, "lost": {}, "twice": {0, time.Second}, "late": {3 * time.Second}, "later": {2 * time.Second},
		}
		nw := memory.New(memory.Config{Faults: func(m memory.Message) []time.Duration { return fates[string(m.Payload)] }})
		members, ids, got := party(t, nw, 2)
		defer leave(members)
		for _, text := range []string{"late", "lost", "later", "twice", "plain"} {
			if err := members[0].Send(t.Context(), ids[1], []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"twice", "plain", "twice", "later", "late"}; !slices.Equal(*got[1], want) {
			t.Errorf("got %q, want %q", *got[1], want)
		}
	})
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := memory.New(memory.Config{})
		members, ids, got := party(t, nw, 3)
		defer leave(members)
		members[1].Handle("test/1", func(_ context.Context, s bus.Stream) { _, _ = io.Copy(io.Discard, s) })
		st, err := members[0].Stream(t.Context(), ids[1], "test/1")
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()

		nw.Partition(ids[:1])
		if err := members[0].Announce(t.Context(), bus.TopicOffers, []byte("alone")); err != nil {
			t.Errorf("Announce in a partition = %v", err)
		}
		if _, err := st.Write([]byte("x")); err == nil {
			t.Error("a stream across the partition goes on")
		}
		if _, err := members[0].Stream(t.Context(), ids[1], "test/1"); !errors.Is(err, bus.ErrPeer) {
			t.Errorf("Stream across = %v, want ErrPeer", err)
		}
		if err := members[1].Announce(t.Context(), bus.TopicOffers, []byte("among two")); err != nil {
			t.Fatal(err)
		}
		nw.Heal()
		if err := members[0].Send(t.Context(), ids[1], []byte("healed")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i, want := range [][]string{nil, {"healed"}, {"among two"}} {
			if !slices.Equal(*got[i], want) {
				t.Errorf("member %d got %q, want %q", i, *got[i], want)
			}
		}
	})
}
