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
	serve := func(conn net.Conn) {
		l.conns.Add(1)
		defer l.conns.Add(-1)
		defer conn.Close()
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
		Timeout: 300 * time.Millisecond, Retry: 20 * time.Millisecond,
	}
}

// A broker that answers a subscription with more codes than it had filters: a
// client that believes it panics.
func TestQ08LongSuback(t *testing.T) {
	for _, codes := range []int{3, 4, 200} {
		l := lie(t, func(w io.Writer, p packets.ControlPacket) {
			if s, ok := p.(*packets.SubscribePacket); ok {
				s.Topics = make([]string, codes)
			}
			honest(w, p)
		})
		c := dial(t, l.config(t))
		err := c.Send(t.Context(), newKey(t).ID(), []byte("x"))
		if ok := codes == 3; (err == nil) != ok { // with 3 it is the control
			t.Errorf("with %d codes: Send = %v", codes, err)
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

var _ = context.Canceled
var _ = errors.Is
