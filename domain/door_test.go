package domain_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/jobspec"
)

// talkRaw refreshes b at a with an answer that was changed on the way.
func talkRaw(t *testing.T, a, b node, change func([]byte) []byte) error {
	t.Helper()
	var reply []byte
	err := talk(t, door(a, now), b.key.ID(), func(s io.ReadWriteCloser) error {
		_, _, err := domain.Refresh(t.Context(), b.Files, a.key.ID(), recorder{s, &reply}, now)
		return err
	})
	if err != nil {
		return err
	}
	_, _, err = domain.Refresh(t.Context(), b.Files, a.key.ID(), replay{bytes.NewReader(change(reply))}, now)
	return err
}

type recorder struct {
	io.ReadWriteCloser
	got *[]byte
}

func (r recorder) Read(b []byte) (int, error) {
	n, err := r.ReadWriteCloser.Read(b)
	*r.got = append(*r.got, b[:n]...)
	return n, err
}

type replay struct{ io.Reader }

func (replay) Write(b []byte) (int, error) { return len(b), nil }

func (replay) Close() error { return nil }

// What is no request is answered by nothing at all, and costs no memory.
func TestDoorHostile(t *testing.T) {
	a, _ := founded(t, "lab")
	frame := func(n uint32, body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, n), body...)
	}
	for name, sent := range map[string][]byte{
		"nothing":     {},
		"half a head": {0, 0},
		"4 GiB":       frame(1<<32-1, ""),
		"one over":    frame(domain.MaxRequest+1, ""),
		"zero":        frame(0, ""),
		"half":        frame(100, "abc"),
		"no CBOR":     frame(3, "abc"),
		"HTTP":        []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		s := &fake{in: bytes.NewReader(sent)}
		if err := door(a, now).Serve(t.Context(), newKey(t).ID(), s); err == nil || s.out.Len() > 0 || !s.closed {
			t.Errorf("%s: Serve = %v, wrote %d bytes, closed %v, want an error, nothing and closed", name, err, s.out.Len(), s.closed)
		}
	}
}

type fake struct {
	in     io.Reader
	out    bytes.Buffer
	closed bool
}

func (f *fake) Read(b []byte) (int, error) { return f.in.Read(b) }

func (f *fake) Write(b []byte) (int, error) { return f.out.Write(b) }

func (f *fake) Close() error { f.closed = true; return nil }

// A peer that says nothing is left when the context ends.
func TestDoorSilence(t *testing.T) {
	a, _ := founded(t, "lab")
	ctx, cancel := context.WithCancel(t.Context())
	here, there := net.Pipe()
	defer here.Close()
	var g errgroup.Group
	g.Go(func() error { return door(a, now).Serve(ctx, newKey(t).ID(), there) })
	cancel()
	if err := g.Wait(); err == nil {
		t.Error("Serve = nil, want an error")
	}
}

// Wrong codes of one peer are bounded, those of another are not counted there.
func TestTriesAreBounded(t *testing.T) {
	a, m := founded(t, "lab")
	at := now
	d := domain.NewDoor(domain.DoorConfig{Files: a.Files, Key: a.key, Now: func() time.Time { return at }})
	b, c := newNode(t), newNode(t)
	good := invite(t, a, domain.InviteOptions{})
	other, _ := founded(t, "lab")
	wrong := invite(t, other, domain.InviteOptions{}).Forge(newKey(t), func(f *domain.Token) { f.Issuer, f.Name, f.Admin = a.key.ID(), m.Name, m.Admin })
	try := func(n node, token domain.Token) error {
		return talk(t, d, n.key.ID(), func(s io.ReadWriteCloser) error {
			_, err := domain.Join(t.Context(), n.Files, n.key.ID(), token, a.key.ID(), s, at)
			return err
		})
	}
	for i := range domain.MaxTries {
		if err := try(b, wrong); !isPNet(err) {
			t.Fatalf("try %d = %v, want E_PNET", i, err)
		}
	}
	if err := try(b, good); !errors.Is(err, jobspec.KindLimit.Error()) {
		t.Errorf("after %d wrong ones = %v, want E_LIMIT", domain.MaxTries, err)
	}
	if err := try(c, wrong); !isPNet(err) {
		t.Errorf("another peer = %v, want E_PNET", err)
	}
	at = at.Add(10 * time.Minute)
	if err := try(b, good); err != nil {
		t.Errorf("ten minutes later = %v", err)
	}
}
