package mqtt_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/identity"
)

// liar is a broker that keeps to no rule.
type liar struct {
	url   string
	conns atomic.Int64 // open now
	taken atomic.Int64 // messages
	cut   func()       // ends all connections, and each new one
}

// lie starts one; answer writes what it says to a packet.
func lie(t *testing.T, answer func(w io.Writer, p packets.ControlPacket)) *liar {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{url: "mqtt://" + ln.Addr().String()}
	var running sync.WaitGroup
	ended, end := context.WithCancel(context.WithoutCancel(t.Context()))
	l.cut = end
	serve := func(conn net.Conn) {
		l.conns.Add(1)
		defer l.conns.Add(-1)
		defer conn.Close()
		defer context.AfterFunc(ended, func() { _ = conn.Close() })()
		for {
			p, err := packets.ReadPacket(conn)
			if err != nil {
				return
			}
			if _, ok := p.(*packets.PublishPacket); ok {
				l.taken.Add(1)
			}
			answer(conn, p)
		}
	}
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		end()
		running.Wait()
	})
	return l
}

// honest answers as a broker does.
func honest(w io.Writer, p packets.ControlPacket) {
	switch p := p.(type) {
	case *packets.ConnectPacket:
		ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
		if !p.UsernameFlag {
			ack.ReturnCode = packets.ErrRefusedNotAuthorised
		}
		_ = ack.Write(w)
	case *packets.SubscribePacket:
		ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
		ack.MessageID, ack.ReturnCodes = p.MessageID, make([]byte, len(p.Topics))
		_ = ack.Write(w)
	case *packets.PublishPacket:
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		_ = ack.Write(w)
	case *packets.PingreqPacket:
		_ = packets.NewControlPacket(packets.Pingresp).Write(w)
	}
}

func (l *liar) config(t *testing.T) mqtt.Config {
	return mqtt.Config{
		Broker: l.url, Self: newKey(t).ID(), Domain: home, Password: func() (string, error) { return "x", nil },
		Timeout: 5 * time.Second, Retry: 20 * time.Millisecond,
	}
}

// A broker that answers a subscription with more codes than it had filters: a
// client that believes it panics.
func TestQ08LongSuback(t *testing.T) {
	for _, codes := range []int{3, 4, 200} {
		var subscribed atomic.Int64
		l := lie(t, func(w io.Writer, p packets.ControlPacket) {
			if s, ok := p.(*packets.SubscribePacket); ok {
				s.Topics = make([]string, codes)
				subscribed.Add(1)
			}
			honest(w, p)
		})
		c := dial(t, l.config(t))
		until(t, func() bool { return c.Stats().Connects > 0 || subscribed.Load() > 2 })
		if got, want := c.Stats().Connects > 0, codes == 3; got != want { // with 3 it is the control
			t.Errorf("with %d codes: connected %v", codes, got)
		}
		_ = c.Close()
	}
}

// A broker that sends with QoS 2 and never releases: paho keeps each message.
func TestQ08QoS2(t *testing.T) {
	self, from := newKey(t).ID(), newKey(t).ID()
	for _, qos := range []byte{1, 2} {
		l := lie(t, func(w io.Writer, p packets.ControlPacket) {
			honest(w, p)
			if _, ok := p.(*packets.SubscribePacket); ok {
				_ = message(self, from, qos).Write(w)
			}
		})
		cfg := l.config(t)
		cfg.Self = self
		c := dial(t, cfg)
		got := listen(t, c)
		if qos == 1 { // the control
			<-got
		} else {
			until(t, func() bool { return c.Stats().Connects > 1 })
		}
		_ = c.Close()
		if n := len(got); qos == 2 && n != 0 {
			t.Errorf("%d messages of QoS 2 arrive", n)
		}
	}
}

func message(to, from identity.ID, qos byte) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Payload = "ipdc/"+string(home)+"/to/"+string(to)+"/"+string(from), qos, 1, []byte("x")
	return p
}

// A broker that takes messages and says nothing: paho keeps each of them.
func TestQ08NoAcknowledgement(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answer  func(io.Writer, packets.ControlPacket)
		timeout time.Duration
		goes    bool // the caller, when the message is sent
	}{
		{"control", honest, 30 * time.Second, false},
		{"silent", silent, time.Second, false},
		{"silent, and a caller that does not wait for it", silent, time.Second, true},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		l := lie(t, func(w io.Writer, p packets.ControlPacket) {
			if _, ok := p.(*packets.PublishPacket); ok && tt.goes {
				cancel()
			}
			tt.answer(w, p)
		})
		cfg := l.config(t)
		cfg.Timeout = tt.timeout
		c := dial(t, cfg)
		until(t, func() bool { return c.Stats().Connects > 0 })
		before := c.Stats().Connects
		err := c.Send(ctx, newKey(t).ID(), []byte("x"))
		cancel()
		if ok := tt.name == "control"; (err == nil) != ok {
			t.Errorf("%s: Send = %v", tt.name, err)
		} else if !ok {
			until(t, func() bool { return c.Stats().Connects > before })
		}
		_ = c.Close()
	}
}

// Many senders and a broker that acknowledges nothing: each is told, and of all
// that they send no more than Config.InFlight is kept at a time. The control is
// one that does.
func TestF45BrokerNeverAcknowledges(t *testing.T) {
	for name, answer := range map[string]func(io.Writer, packets.ControlPacket){"control": honest, "F45 silent": silent} {
		l := lie(t, answer)
		cfg := l.config(t)
		cfg.InFlight, cfg.Timeout = 4, 10*time.Second // the session is not cut; the goodbye of one that is may take all of it
		c := dial(t, cfg)
		until(t, func() bool { return c.Stats().Connects > 0 })
		before := l.taken.Load()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if name != "control" {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		}
		var senders sync.WaitGroup
		var failed atomic.Int64
		for range 200 {
			senders.Go(func() {
				if err := c.Send(ctx, newKey(t).ID(), make([]byte, 16<<10)); err != nil {
					failed.Add(1)
				}
			})
		}
		senders.Wait()
		cancel()
		taken := l.taken.Load() - before
		if name == "control" && (failed.Load() > 0 || taken != 200) || name != "control" && (failed.Load() != 200 || taken > 4) {
			t.Errorf("%s: %d of 200 senders failed, %d messages went out", name, failed.Load(), taken)
		}
		l.cut()
		_ = c.Close()
	}
}

// silent acknowledges no message.
func silent(w io.Writer, p packets.ControlPacket) {
	if _, ok := p.(*packets.PublishPacket); !ok {
		honest(w, p)
	}
}

// over is a context that ends just when nobody looks.
type over struct{ context.Context }

func (over) Err() error { return context.Canceled }

func TestDialCancelledLate(t *testing.T) {
	l := lie(t, honest)
	c, err := mqtt.Dial(over{t.Context()}, l.config(t))
	if !errors.Is(err, context.Canceled) || c != nil {
		t.Errorf("Dial = %v, %v, want the end of its context", c, err)
	}
	until(t, func() bool { return l.conns.Load() == 0 })
}

// A broker that cannot be asked at first whether it lets anybody in.
func TestQ01OpenBrokerSeenLate(t *testing.T) {
	for _, open := range []bool{true, false} {
		var asked atomic.Int64
		l := lie(t, func(w io.Writer, p packets.ControlPacket) {
			if p, ok := p.(*packets.ConnectPacket); ok && !p.UsernameFlag {
				if asked.Add(1) == 1 {
					_ = w.(io.Closer).Close()
					return
				}
				p.UsernameFlag = open // then anybody is let in
			}
			honest(w, p)
		})
		c := dial(t, l.config(t))
		var err error
		until(t, func() bool {
			err = c.Send(t.Context(), newKey(t).ID(), []byte("x"))
			return err == nil || errors.Is(err, mqtt.ErrInsecure)
		})
		if (err != nil) != open { // a closed one is the control
			t.Errorf("Send by a broker that is open: %v = %v", open, err)
		}
		if n := l.taken.Load(); open && n > 0 {
			t.Errorf("%d messages went to a broker that lets anybody in", n)
		}
		_ = c.Close()
	}
}
