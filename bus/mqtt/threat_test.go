package mqtt_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/testenv"
)

// raw is a client that keeps to no rule. change alters its options.
func (s *site) raw(t *testing.T, key identity.Key, change func(o *paho.ClientOptions)) (paho.Client, error) {
	t.Helper()
	password, err := s.password(t, key)()
	if err != nil {
		t.Fatal(err)
	}
	o := paho.NewClientOptions().AddBroker(strings.Replace(s.url, "mqtt:", "tcp:", 1)).SetProtocolVersion(4).
		SetClientID(string(key.ID())).SetUsername(string(key.ID())).SetPassword(password).SetAutoReconnect(false).SetConnectTimeout(5 * time.Second)
	if change != nil {
		change(o)
	}
	c := paho.NewClient(o)
	token := c.Connect()
	token.Wait()
	t.Cleanup(func() { c.Disconnect(50) })
	return c, token.Error()
}

// attacker is a member that keeps to no rule, connected.
func (s *site) attacker(t *testing.T, key identity.Key) paho.Client {
	t.Helper()
	var c paho.Client
	until(t, func() bool {
		var err error
		c, err = s.raw(t, key, nil)
		return err == nil
	})
	return c
}

func each(t *testing.T, f func(t *testing.T, s *site)) {
	for name, open := range sites {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

// A member publishes under the names of others. What it publishes under its own
// arrives; bus.TestQ02Q03ForgedAndForeign shows what becomes of that.
func TestQ02OthersNames(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		victim, other, evil := newKey(t), newKey(t).ID(), newKey(t)
		c := dial(t, s.config(t, victim))
		got := listen(t, c)
		prefix := "ipdc/" + string(home) + "/"
		for _, topic := range []string{
			prefix + "to/" + string(victim.ID()) + "/" + string(other), prefix + "all/offers/" + string(other), prefix + "all/nodes/" + string(victim.ID()),
			prefix + "gone/" + string(other),
		} {
			a := s.attacker(t, evil)
			a.Publish(topic, 1, false, "forged").WaitTimeout(time.Second)
			a.Disconnect(50)
		}
		s.attacker(t, evil).Publish(prefix+"to/"+string(victim.ID())+"/"+string(evil.ID()), 1, false, "control")
		for d := range got {
			if string(d.Payload) == "control" {
				break
			}
			// The broker tells the end of the attacker's connections.
			if !d.Gone || d.From != evil.ID() {
				t.Errorf("arrived: %q from %s, gone %v", d.Payload, d.From, d.Gone)
			}
		}
	})
}

func TestQ03Eavesdropping(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		a, b := newKey(t), newKey(t)
		from, to := dial(t, s.config(t, a)), dial(t, s.config(t, b))
		got := listen(t, to)
		evil := newKey(t)
		spy := s.attacker(t, evil)
		heard := make(chan string, 1000)
		prefix := "ipdc/" + string(home) + "/"
		for _, filter := range []string{"#", "+/+/+", "+/+/+/+/+", "$SYS/#", "$share/g/#", "$share/g/" + prefix + "to/+/+", prefix + "#", prefix + "to/+/+", prefix + "to/" + string(b.ID()) + "/+"} {
			spy.Subscribe(filter, 1, nil).WaitTimeout(time.Second)
		}
		spy.Disconnect(50)
		spy, err := s.raw(t, evil, func(o *paho.ClientOptions) {
			o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { heard <- m.Topic() })
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, filter := range []string{"#", "$SYS/#", prefix + "to/+/+", prefix + "to/" + string(b.ID()) + "/+", prefix + "to/" + string(evil.ID()) + "/+"} {
			spy.Subscribe(filter, 1, nil).WaitTimeout(time.Second)
		}
		if err := from.Send(t.Context(), b.ID(), []byte("private")); err != nil {
			t.Fatal(err)
		}
		<-got // the control: it arrives where it should
		if err := from.Send(t.Context(), evil.ID(), []byte("for the spy")); err != nil {
			t.Fatal(err)
		}
		if topic := <-heard; topic != prefix+"to/"+string(evil.ID())+"/"+string(a.ID()) {
			t.Errorf("the spy hears %s", topic)
		}
	})
}

func TestQ04NamesWithWildcards(t *testing.T) {
	s := embedded(t)
	for _, name := range []string{"#", "+", "a/b", "$x", "a b", strings.Repeat("a", 129), "\x00"} {
		cfg := s.config(t, newKey(t))
		cfg.Username = name
		if _, err := mqtt.Dial(t.Context(), cfg); !errors.Is(err, mqtt.ErrConfig) {
			t.Errorf("Dial as user %.20q = %v, want ErrConfig", name, err)
		}
		cfg = s.config(t, newKey(t))
		cfg.Self = identity.ID(name)
		if _, err := mqtt.Dial(t.Context(), cfg); !errors.Is(err, mqtt.ErrConfig) {
			t.Errorf("Dial as %.20q = %v, want ErrConfig", name, err)
		}
		if _, err := s.raw(t, newKey(t), func(o *paho.ClientOptions) { o.SetClientID(name).SetUsername(name) }); err == nil {
			t.Errorf("the embedded broker takes client id %.20q", name)
		}
	}
	if _, err := s.raw(t, newKey(t), nil); err != nil {
		t.Errorf("control: %v", err)
	}
}

func TestQ05Takeover(t *testing.T) {
	s := embedded(t)
	victim := newKey(t)
	var log testenv.Log
	cfg := s.config(t, victim)
	cfg.Logger = logTo(&log)
	c := dial(t, cfg)
	if _, err := s.raw(t, newKey(t), func(o *paho.ClientOptions) { o.SetClientID(string(victim.ID())) }); err == nil {
		t.Error("a client id is free for other credentials")
	}
	if n := c.Stats().Connects; n != 1 {
		t.Errorf("%d connections, want 1: it was kicked", n)
	}
	// With stolen credentials both are kicked in turn: it is told, and slows down.
	thief := s.config(t, victim)
	dial(t, thief)
	until(t, func() bool { return strings.Contains(log.String(), "another node use this identity") })
}

func TestQ06F44RetainedCommands(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		victim, evil := newKey(t), newKey(t)
		prefix := "ipdc/" + string(home) + "/"
		a := s.attacker(t, evil)
		a.Publish(prefix+"to/"+string(victim.ID())+"/"+string(evil.ID()), 1, true, "poison")
		a.Publish(prefix+"all/offers/"+string(evil.ID()), 1, true, "poison")
		a.Publish(prefix+"all/nodes/"+string(evil.ID()), 1, true, "advert").WaitTimeout(30 * time.Second)
		for range 2 { // at each connection; the broker took the three in order
			c := dial(t, s.config(t, victim))
			if d := <-listen(t, c); string(d.Payload) != "advert" || !d.Kept {
				t.Errorf("arrived: %q, kept %v", d.Payload, d.Kept)
			}
			// Both commands were sent before or after the advert; mosquitto sends them, the embedded broker has not kept them.
			if s.embedded == nil {
				until(t, func() bool { return c.Stats().Retained == 2 })
			}
			_ = c.Close()
		}
	})
}

func TestQ07Garbage(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		victim, evil := newKey(t), newKey(t)
		c := dial(t, s.config(t, victim))
		got := listen(t, c)
		inbox := "ipdc/" + string(home) + "/to/" + string(victim.ID()) + "/" + string(evil.ID())
		for _, payload := range [][]byte{{}, make([]byte, bus.MaxMessage+1), make([]byte, 200<<10), []byte("control")} {
			a := s.attacker(t, evil) // the third time the broker ends the connection
			a.Publish(inbox, 1, false, payload).WaitTimeout(30 * time.Second)
			a.Disconnect(50)
		}
		for d := range got {
			if string(d.Payload) == "control" {
				break
			}
			if !d.Gone || d.From != evil.ID() {
				t.Errorf("%d bytes arrive", len(d.Payload))
			}
		}
		if n := c.Stats(); n.Foreign != 1 || n.Connects != 1 {
			t.Errorf("%d dropped as too large over %d connections, want 1 over 1", n.Foreign, n.Connects)
		}
	})
}

// A broker that announces a packet of 256 MiB. Without the check the client
// would make room for it.
func TestQ08PacketLength(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stream []byte
		limit  int
		pass   int // bytes that come through
		fails  bool
	}{
		{"256 MiB", []byte{0x30, 0xff, 0xff, 0xff, 0x7f, 'x'}, mqtt.MaxPacket, 0, true},
		{"one too many", []byte{0x30, 0x81, 0x88, 0x02, 'x'}, mqtt.MaxPacket, 0, true},
		{"control: with the limit at 256 MiB", []byte{0x30, 0xff, 0xff, 0xff, 0x7f, 'x'}, 256 << 20, 6, false},
		{"a length without an end", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x00}, mqtt.MaxPacket, 0, true},
		{"control: two packets", []byte{0x20, 0x02, 0, 0, 0xd0, 0x00}, mqtt.MaxPacket, 6, false},
		{"a message with QoS 2", []byte{0x34, 0x03, 0, 1, 'a'}, mqtt.MaxPacket, 0, true},
		{"a message with QoS 3", []byte{0x36, 0x03, 0, 1, 'a'}, mqtt.MaxPacket, 0, true},
		{"a PUBREL", []byte{0x62, 0x02, 0, 1}, mqtt.MaxPacket, 0, true},
		{"control: a message with QoS 1", []byte{0x32, 0x03, 0, 1, 'a'}, mqtt.MaxPacket, 5, false},
		{"a SUBACK with 4 codes", []byte{0x90, 0x06, 0, 1, 0, 0, 0, 0}, mqtt.MaxPacket, 0, true},
		{"control: a SUBACK with 3 codes", []byte{0x90, 0x05, 0, 1, 0, 0, 0}, mqtt.MaxPacket, 7, false},
		{"a CONNECT", []byte{0x10, 0x02, 0, 0}, mqtt.MaxPacket, 0, true},
		{"a bad one after a good one", []byte{0x20, 0x02, 0, 0, 0x30, 0xff, 0xff, 0xff, 0x7f}, mqtt.MaxPacket, 0, true},
	} {
		for _, chunk := range []int{1, 100} {
			near, far := net.Pipe()
			go func() {
				for part := range slices.Chunk(tt.stream, chunk) {
					_, _ = far.Write(part)
				}
				_ = far.Close()
			}()
			got, err := io.ReadAll(mqtt.Gauge(near, tt.limit))
			if (err != nil) != tt.fails || chunk > 1 && len(got) != tt.pass || len(got) >= 5 && tt.fails && got[len(got)-1] == 0x7f {
				t.Errorf("%s, by %d: %d bytes, %v", tt.name, chunk, len(got), err)
			}
			_ = near.Close()
		}
	}
}

// A will that tells the end of another.
func TestQ13ForgedLastWill(t *testing.T) {
	s := embedded(t)
	evil := newKey(t)
	will := func(of identity.ID, retain bool) func(o *paho.ClientOptions) {
		return func(o *paho.ClientOptions) { o.SetWill("ipdc/"+string(home)+"/gone/"+string(of), "1", 1, retain) }
	}
	if _, err := s.raw(t, evil, will(newKey(t).ID(), false)); err == nil {
		t.Error("the broker takes a will in the name of another")
	}
	if _, err := s.raw(t, evil, will(evil.ID(), true)); err == nil {
		t.Error("the broker takes a will that stays")
	}
	if _, err := s.raw(t, evil, will(evil.ID(), false)); err != nil {
		t.Errorf("control: %v", err)
	}
}

// A client that asks for a session, and would let it fill while it is away.
func TestQ15Sessions(t *testing.T) {
	s := embedded(t)
	for _, clean := range []bool{true, false} { // with true it is the control
		if _, err := s.raw(t, newKey(t), func(o *paho.ClientOptions) { o.SetCleanSession(clean) }); (err == nil) != clean {
			t.Errorf("connect with clean session %v = %v", clean, err)
		}
	}
}

// MQTT 5 brings properties and aliases without a bound; it is not spoken.
func TestQ16NoMQTT5(t *testing.T) {
	s := embedded(t)
	connect := func(version byte, properties []byte) error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.embedded.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		key := newKey(t)
		password, err := signed(t, key)()
		if err != nil {
			t.Fatal(err)
		}
		body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', version, 0xc2, 0, 60}, properties...)
		for _, field := range []string{string(key.ID()), string(key.ID()), password} {
			body = append(append(body, byte(len(field)>>8), byte(len(field))), field...)
		}
		if _, err := conn.Write(append([]byte{0x10, byte(len(body)&0x7f | 0x80), byte(len(body) >> 7)}, body...)); err != nil {
			return err
		}
		ack := make([]byte, 4)
		if _, err := io.ReadFull(conn, ack); err != nil {
			return err
		}
		if ack[3] != 0 {
			return errors.New("refused")
		}
		return nil
	}
	if err := connect(4, nil); err != nil {
		t.Errorf("control: MQTT 3.1.1: %v", err)
	}
	if err := connect(5, []byte{0}); err == nil {
		t.Error("MQTT 5 is spoken")
	}
}
