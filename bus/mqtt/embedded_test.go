package mqtt_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/identity"
)

// Who was revoked is cut off, also when it says nothing, and stays out.
func TestRevoked(t *testing.T) {
	s := embedded(t)
	stays, told, heard := newKey(t), newKey(t), newKey(t)
	control := dial(t, s.config(t, stays))
	clients := map[identity.ID]*mqtt.Client{told.ID(): dial(t, s.config(t, told)), heard.ID(): dial(t, s.config(t, heard))}
	got := listen(t, clients[heard.ID()])

	s.roster.gone.Store(told.ID(), true)
	s.embedded.Recheck()
	s.roster.gone.Store(heard.ID(), true) // by the next message only
	if err := control.Announce(t.Context(), bus.TopicOffers, []byte("for members")); err != nil {
		t.Errorf("control: Announce = %v", err)
	}
	for id, c := range clients {
		until(t, func() bool {
			return errors.Is(c.Announce(t.Context(), bus.TopicOffers, []byte("x")), bus.ErrUnavailable)
		})
		if _, err := mqtt.Dial(t.Context(), mqtt.Config{Broker: s.url, Self: id, Domain: home, Password: signed(t, map[identity.ID]identity.Key{told.ID(): told, heard.ID(): heard}[id])}); !errors.Is(err, mqtt.ErrCredential) {
			t.Errorf("Dial = %v, want ErrCredential", err)
		}
	}
	for len(got) > 0 {
		if d := <-got; !d.Gone {
			t.Errorf("who was revoked still hears %q", d.Payload)
		}
	}
	if n := control.Stats().Connects; n != 1 {
		t.Errorf("control: %d connections of a member, want 1", n)
	}
}

// deaf is a member that subscribes and then reads nothing.
func (s *site) deaf(t *testing.T, key identity.Key) {
	t.Helper()
	conn, err := s.subscribed(t, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
}

// subscribed connects as a member that hears what is sent to it.
func (s *site) subscribed(t *testing.T, key identity.Key) (_ net.Conn, err error) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.embedded.Addr())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	password, err := signed(t, key)()
	if err != nil {
		return nil, err
	}
	id := string(key.ID())
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.CleanSession, connect.Keepalive = "MQTT", 4, true, 60
	connect.ClientIdentifier, connect.UsernameFlag, connect.PasswordFlag, connect.Username, connect.Password = id, true, true, id, []byte(password)
	subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, []string{"ipdc/" + string(home) + "/to/" + id + "/+"}, []byte{1}
	for _, p := range []packets.ControlPacket{connect, subscribe} {
		if err := p.Write(conn); err != nil {
			return nil, err
		}
		if _, err := packets.ReadPacket(conn); err != nil {
			return nil, err
		}
	}
	return conn, nil
}

// Of several connections by one name one stays, and hears what is sent to it.
func TestTakenOver(t *testing.T) {
	s := embedded(t)
	key, from := newKey(t), dial(t, s.config(t, newKey(t)))
	var last net.Conn
	for i := range 50 {
		if last != nil && i%2 == 0 { // of itself, as the others come
			_ = last.Close()
		}
		conns, heard := make(chan net.Conn, 4), make(chan net.Conn, 4)
		var wg sync.WaitGroup
		for range cap(conns) {
			wg.Go(func() {
				if conn, err := s.subscribed(t, key); err == nil {
					conns <- conn
				}
			})
		}
		wg.Wait()
		close(conns)
		if last != nil {
			_ = last.Close()
		}
		for conn := range conns {
			wg.Go(func() {
				_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				_, err := packets.ReadPacket(conn)
				if err == nil {
					heard <- conn
					return
				}
				if isTimeout(err) {
					t.Error("a connection neither hears nor ends")
				}
				_ = conn.Close()
			})
		}
		if err := from.Send(t.Context(), key.ID(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case last = <-heard:
		case <-time.After(2 * time.Minute):
			t.Error("nobody of that name hears")
		}
		wg.Wait() // the others have ended
		if t.Failed() {
			return
		}
	}
	_ = last.Close()
}

// A member that does not read holds up neither the others nor Close.
func TestDeafMember(t *testing.T) {
	s := embedded(t)
	deaf, other := newKey(t), newKey(t)
	from, to := dial(t, s.config(t, newKey(t))), dial(t, s.config(t, other))
	got := listen(t, to)
	s.deaf(t, deaf)
	until(t, func() bool {
		if err := from.Send(t.Context(), deaf.ID(), make([]byte, bus.MaxMessage)); err != nil {
			t.Fatalf("Send to one that does not read = %v", err)
		}
		return s.embedded.Stats().Dropped > 0
	})
	if err := from.Send(t.Context(), other.ID(), []byte("control")); err != nil {
		t.Fatal(err)
	}
	if d := <-got; string(d.Payload) != "control" {
		t.Errorf("arrived: %q", d.Payload)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.embedded.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("Close = %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("Close waits for a client that does not read")
	}
}

// Filters of a member's own making are not remembered.
func TestQ15Subscriptions(t *testing.T) {
	s := embedded(t)
	self := newKey(t)
	c := s.attacker(t, self)
	prefix := "ipdc/" + string(home) + "/"
	for filter, want := range map[string]byte{
		prefix + "all/+/+": 0, prefix + "gone/+": 0, prefix + "to/" + string(self.ID()) + "/+": 0, // the control
		prefix + "all/a/+": 0x80, prefix + "all/b/+": 0x80, prefix + "gone/" + string(newKey(t).ID()): 0x80, prefix + "all/nodes/" + string(newKey(t).ID()): 0x80,
	} {
		token := c.Subscribe(filter, 1, nil).(*paho.SubscribeToken)
		if !token.WaitTimeout(10*time.Second) || token.Result()[filter] != want {
			t.Errorf("Subscribe(%s) = %v, want %#x", filter, token.Result(), want)
		}
	}
}

// Connections that say nothing take the room of one address only, and members
// take none of it.
func TestStrangersOfAnAddress(t *testing.T) {
	s := embedded(t)
	for range 20 { // members, of one address
		dial(t, s.config(t, newKey(t)))
	}
	var idle []net.Conn
	for range 16 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.embedded.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	over, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.embedded.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	_ = over.SetDeadline(time.Now().Add(5 * time.Second)) // before its time to say who it is ends
	if _, err := over.Read(make([]byte, 1)); errors.Is(err, net.ErrClosed) || isTimeout(err) {
		t.Errorf("the 17th stranger of an address is kept: %v", err)
	}
	elsewhere := func(o *paho.ClientOptions) {
		o.SetDialer(&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}})
	}
	if _, err := s.raw(t, newKey(t), elsewhere); err != nil {
		t.Errorf("control: a member of another address = %v", err)
	}
	for _, conn := range idle {
		_ = conn.Close()
	}
	s.attacker(t, newKey(t)) // control: there is room again
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
