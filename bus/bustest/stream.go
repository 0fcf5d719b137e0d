package bustest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
)

const proto bus.Protocol = "test/1"

var streamTests = []subtest{
	{"echo, both ends known", testEcho},
	{"an end of what is written", func(t *testing.T, s Subject) {
		a, b := join(t, s), join(t, s)
		b.bus().Handle(proto, func(_ context.Context, st bus.Stream) {
			if got, err := io.ReadAll(st); err == nil {
				_, _ = st.Write(append([]byte("all of: "), got...))
			}
		})
		st := a.connect(t, b)
		write(t, st, "this")
		if err := st.CloseWrite(); err != nil {
			t.Errorf("CloseWrite = %v", err)
		}
		if got, err := io.ReadAll(st); err != nil || string(got) != "all of: this" {
			t.Errorf("read %q, %v", got, err)
		}
	}},
	{"no handler, no peer, no time", testNoStream},
	{"a reset is no end", func(t *testing.T, s Subject) {
		a, b := join(t, s), join(t, s)
		ends := make(chan error, 1)
		b.bus().Handle(proto, func(_ context.Context, st bus.Stream) {
			_, err := io.ReadAll(st)
			ends <- err
		})
		st := a.connect(t, b)
		write(t, st, "half of")
		if err := st.Reset(); err != nil {
			t.Errorf("Reset = %v", err)
		}
		if err := <-ends; err == nil {
			t.Error("after a reset the other side reads to a clean end")
		}
		if _, err := st.Write([]byte("x")); err == nil {
			t.Error("Write after Reset succeeds")
		}
	}},
	{"P10 silence meets a deadline", func(t *testing.T, s Subject) {
		a, b := join(t, s), join(t, s)
		release := make(chan struct{})
		defer close(release)
		b.bus().Handle(proto, func(_ context.Context, _ bus.Stream) { <-release })
		st := a.connect(t, b)
		if err := st.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Read(make([]byte, 1)); err == nil {
			t.Error("Read from a silent peer succeeds")
		}
	}},
	{"close ends streams and handlers", testCloseStreams},
	{"many streams", testManyStreams},
}

func (m *member) streams() bool {
	_, ok := m.Messenger.(bus.Bus)
	return ok
}

func (m *member) bus() bus.Bus { return m.Messenger.(bus.Bus) }

// connect opens a stream once both know each other.
func (m *member) connect(t *testing.T, to *member) bus.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		st, err := m.bus().Stream(ctx, to.id, proto)
		if err == nil {
			t.Cleanup(func() { _ = st.Close() })
			return st
		}
		if !errors.Is(err, bus.ErrPeer) {
			t.Fatalf("Stream = %v", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("no stream in %v: %v", patience, err)
		}
	}
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatalf("Write = %v", err)
	}
}

func testEcho(t *testing.T, s Subject) {
	a, b := join(t, s), join(t, s)
	from := make(chan string, 1)
	b.bus().Handle(proto, func(_ context.Context, st bus.Stream) {
		from <- string(st.Peer())
		_, _ = io.Copy(st, st)
	})
	st := a.connect(t, b)
	if st.Peer() != b.id {
		t.Errorf("Peer of the caller's end = %s, want %s", st.Peer(), b.id)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	var writing sync.WaitGroup
	writing.Go(func() {
		_, err := st.Write(data)
		if err = errors.Join(err, st.CloseWrite()); err != nil {
			t.Errorf("Write = %v", err)
		}
	})
	got, err := io.ReadAll(st)
	writing.Wait()
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v, want %d equal ones", len(got), err, len(data))
	}
	if who := <-from; who != string(a.id) {
		t.Errorf("Peer of the handler's end = %s, want %s", who, a.id)
	}
	for _, pair := range [][2]*member{{a, b}, {b, a}} {
		if !slices.ContainsFunc(pair[0].bus().Peers(), func(p bus.Peer) bool { return p.ID == pair[1].id }) {
			t.Errorf("Peers() = %v lack %s", pair[0].bus().Peers(), pair[1].id)
		}
	}
}

func testNoStream(t *testing.T, s Subject) {
	a, b := join(t, s), join(t, s)
	b.bus().Handle(proto, func(context.Context, bus.Stream) {})
	a.connect(t, b)
	b.bus().Handle(proto, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := a.bus().Stream(ctx, b.id, proto); !errors.Is(err, bus.ErrProtocol) {
		t.Errorf("Stream without a handler = %v, want ErrProtocol", err)
	}
	if _, err := a.bus().Stream(ctx, newKey(t).ID(), proto); !errors.Is(err, bus.ErrPeer) {
		t.Errorf("Stream to nobody = %v, want ErrPeer", err)
	}
	if _, err := a.bus().Stream(ctx, a.id, proto); !errors.Is(err, bus.ErrPeer) {
		t.Errorf("Stream to oneself = %v, want ErrPeer", err)
	}
	cancel()
	if _, err := a.bus().Stream(ctx, b.id, proto); !errors.Is(err, context.Canceled) {
		t.Errorf("Stream with an ended context = %v, want context.Canceled", err)
	}
}

func testCloseStreams(t *testing.T, s Subject) {
	a, b := join(t, s), join(t, s)
	const n = 32 // handlers, which race with Close
	handled := make(chan error, n)
	b.bus().Handle(proto, func(ctx context.Context, st bus.Stream) {
		_, _ = st.Write([]byte("!"))
		<-ctx.Done()
		_, err := st.Write([]byte("x"))
		handled <- err
	})
	var open []bus.Stream
	for range n {
		st := a.connect(t, b)
		if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		open = append(open, st)
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if len(handled) != n {
		t.Fatalf("Close returned when %d of %d handlers had", len(handled), n)
	}
	for _, st := range open {
		if <-handled == nil {
			t.Error("a handler writes after Close")
		}
		if _, err := st.Read(make([]byte, 1)); err == nil {
			t.Error("Read from a closed member succeeds")
		}
	}
	if _, err := b.bus().Stream(t.Context(), a.id, proto); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Stream after Close = %v, want ErrClosed", err)
	}
}

func testManyStreams(t *testing.T, s Subject) {
	a, b := join(t, s), join(t, s)
	b.bus().Handle(proto, func(_ context.Context, st bus.Stream) { _, _ = io.Copy(st, st) })
	a.connect(t, b)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			st, err := a.bus().Stream(t.Context(), b.id, proto)
			if err != nil {
				t.Errorf("Stream = %v", err)
				return
			}
			defer st.Close()
			got := make([]byte, 5)
			if _, err = st.Write([]byte("hello")); err == nil {
				_, err = io.ReadFull(st, got)
			}
			if err != nil || string(got) != "hello" {
				t.Errorf("echo = %q, %v", got, err)
			}
		})
	}
	all.Wait()
}
