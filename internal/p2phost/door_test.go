package p2phost_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
)

// Answer and Ask are a conversation at a door: each side knows the other by its
// key, and nobody without the door's gets an answer.
func TestAnswerAtDoor(t *testing.T) {
	at := p2phost.Config{Domain: domain, Key: newKey(t), PSK: [32]byte{1}, Door: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Logger: logger(t)}
	door := open(t, at)
	var asked atomic.Int64
	door.Answer(t.Context(), "greet/1", func(_ context.Context, from identity.ID, s io.ReadWriteCloser) error {
		asked.Add(1)
		_, err := io.WriteString(s, "hello "+string(from))
		return errors.Join(err, s.Close())
	})
	at.Key, at.Listen = newKey(t), []string{}
	newcomer := open(t, at)
	s, err := newcomer.Ask(t.Context(), door.ID(), door.Listen(), "greet/1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || string(got) != "hello "+string(at.Key.ID()) {
		t.Errorf("the newcomer is told %q, %v", got, err)
	}
	if _, err := newcomer.Ask(t.Context(), newKey(t).ID(), door.Listen(), "greet/1"); err == nil {
		t.Error("somebody else answers under another peer's address")
	}
	at.Key, at.PSK = newKey(t), [32]byte{2}
	if _, err := open(t, at).Ask(t.Context(), door.ID(), door.Listen(), "greet/1"); err == nil || asked.Load() != 1 {
		t.Errorf("without the door's key Ask = %v, %d were answered, want an error and 1", err, asked.Load())
	}
}

// Who comes to a door that listens and does not answer yet is answered all the same.
func TestAskBeforeAnswer(t *testing.T) {
	at := p2phost.Config{Domain: domain, Key: newKey(t), PSK: [32]byte{1}, Door: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Logger: logger(t)}
	door := open(t, at)
	at.Key, at.Listen = newKey(t), []string{}
	newcomer := open(t, at)
	if err := newcomer.Connect(t.Context(), door.ID(), door.Listen()); err != nil {
		t.Fatal(err)
	}
	if s, err := newcomer.Libp2p().NewStream(t.Context(), door.Libp2p().ID(), door.Protocol("greet/1")); err == nil { // the control
		t.Fatalf("a door that answers nothing opens %v", s)
	}
	asked := make(chan error, 1)
	go func() {
		s, err := newcomer.Ask(t.Context(), door.ID(), door.Listen(), "greet/1")
		if err == nil {
			_, err = io.ReadAll(s)
		}
		asked <- err
	}()
	select {
	case err := <-asked:
		t.Fatalf("before there is an answer Ask = %v", err)
	case <-time.After(300 * time.Millisecond): // it asks again and again
	}
	door.Answer(t.Context(), "greet/1", func(_ context.Context, _ identity.ID, s io.ReadWriteCloser) error { return s.Close() })
	if err := <-asked; err != nil {
		t.Errorf("Ask = %v", err)
	}
}
