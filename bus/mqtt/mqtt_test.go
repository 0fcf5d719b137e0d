package mqtt_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/bustest"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/bus/mqtt/broker"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const home bus.DomainID = "aaaaaaaaaaaaaaaaaaaaaaaaaa"

// site is a broker under test.
type site struct {
	url         string
	password    func(t *testing.T, key identity.Key) func() (string, error)
	stop, start func(t *testing.T)
	embedded    *broker.Broker // nil for mosquitto
	roster      *revocable     // of the embedded one
}

// sites are the brokers that the tests run against.
var sites = map[string]func(t *testing.T) *site{"embedded": embedded, "mosquitto": mosquitto}

type members struct{}

func (members) Check(_ identity.ID, cert []byte, _ time.Time) error {
	if string(cert) != "member" {
		return errors.New("no member")
	}
	return nil
}

// revocable is a roster that changes.
type revocable struct {
	members
	gone sync.Map
}

func (r *revocable) Check(id identity.ID, cert []byte, now time.Time) error {
	if _, gone := r.gone.Load(id); gone {
		return errors.New("revoked")
	}
	return r.members.Check(id, cert, now)
}

func embedded(t *testing.T) *site {
	t.Helper()
	s := &site{password: signed, roster: &revocable{}}
	listen := testenv.Port(t) // nobody else takes it while the broker is away
	s.start = func(t *testing.T) {
		b, err := broker.Open(t.Context(), broker.Config{Listen: listen, Domain: home, Roster: s.roster, Queue: 600})
		if err != nil {
			t.Fatal(err)
		}
		s.embedded, s.url = b, "mqtt://"+b.Addr()
	}
	s.stop = func(t *testing.T) {
		if err := s.embedded.Close(); err != nil {
			t.Errorf("Close of the broker = %v", err)
		}
	}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func signed(_ *testing.T, key identity.Key) func() (string, error) {
	return mqtt.SignedPassword(home, key, func() []byte { return []byte("member") })
}

func mosquitto(t *testing.T) *site {
	t.Helper()
	m := testenv.Mosquitto(t, map[string]string{"nobody": "x"}, mqtt.MosquittoACL(home), "", "")
	return &site{
		url:   "mqtt://" + m.Addr,
		stop:  func(*testing.T) { m.Stop() },
		start: func(*testing.T) { m.Start() },
		password: func(t *testing.T, key identity.Key) func() (string, error) {
			m.AddUser(string(key.ID()), "secret")
			return func() (string, error) { return "secret", nil }
		},
	}
}

func (s *site) config(t *testing.T, key identity.Key) mqtt.Config {
	t.Helper()
	return mqtt.Config{
		Broker: s.url, Self: key.ID(), Domain: home, Password: s.password(t, key),
		Timeout: 5 * time.Second, Retry: 20 * time.Millisecond,
	}
}

// dial connects, when the broker knows the user.
func dial(t *testing.T, cfg mqtt.Config) *mqtt.Client {
	t.Helper()
	c, err := mqtt.Dial(t.Context(), cfg)
	for end := time.Now().Add(2 * time.Minute); errors.Is(err, mqtt.ErrCredential) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err = mqtt.Dial(t.Context(), cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newKey(t *testing.T) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestConformance(t *testing.T) {
	for name, open := range sites {
		t.Run(name, func(t *testing.T) {
			bustest.Run(t, func(t *testing.T) bustest.Subject {
				s := open(t)
				return bustest.Subject{
					Join: func(t *testing.T, key identity.Key) bus.Messenger { return dial(t, s.config(t, key)) },
					Stop: s.stop, Start: s.start,
					Kill: func(_ *testing.T, m bus.Messenger) {
						m.(*mqtt.Client).Cut()
						_ = m.Close()
					},
					Keeps: true, Tells: true,
				}
			})
		})
	}
}

// A broker that comes up later is found, and so is the end of the wait.
func TestDialBeforeTheBroker(t *testing.T) {
	s := embedded(t)
	s.stop(t)
	a, b := dial(t, s.config(t, newKey(t))), dial(t, s.config(t, newKey(t)))
	err := a.Announce(t.Context(), bus.TopicOffers, []byte("x"))
	if !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), strings.TrimPrefix(s.url, "mqtt://")) {
		t.Errorf("Announce = %v, want ErrUnavailable with the address", err)
	}
	s.start(t)
	got := listen(t, b)
	until(t, func() bool {
		_ = a.Announce(t.Context(), bus.TopicOffers, []byte("now"))
		select {
		case d := <-got:
			return string(d.Payload) == "now"
		default:
			return false
		}
	})
}

// A broker that was started anew has lost what it kept; members tell it again,
// the newest only, so that nobody waits for their next announcement.
func TestKeptAgain(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		a := dial(t, s.config(t, newKey(t)))
		got := listen(t, dial(t, s.config(t, newKey(t))))
		for _, text := range []string{"a is new", "a is old"} {
			if err := a.Announce(t.Context(), bus.TopicNodes, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		before := a.Stats().Connects
		s.stop(t)
		until(t, func() bool { return a.Announce(t.Context(), bus.TopicNodes, []byte("a is away")) != nil })
		s.start(t)
		until(t, func() bool { return a.Stats().Connects > before })
		late := listen(t, dial(t, s.config(t, newKey(t))))
		for _, c := range []<-chan bus.Delivery{got, late} {
			until(t, func() bool {
				select {
				case d := <-c:
					return string(d.Payload) == "a is away"
				default:
					return false
				}
			})
		}
	})
}

// Two clients that take the connection from each other do so ever more rarely; a
// broker that is away is soon found when it is back.
func TestBackoff(t *testing.T) {
	for _, tt := range []struct{ lost, vain, most int }{
		{0, 0, 1}, {1, 0, 1}, {1, 1, 1}, {1, 2, 2}, {1, 4, 8}, {1, 50, 8}, {0, 50, 8}, {5, 0, 16}, {5, 50, 16}, {50, 0, 64},
	} {
		most := time.Duration(tt.most) * time.Second
		if got := mqtt.Backoff(time.Second, tt.lost, tt.vain); got < most/2 || got > most {
			t.Errorf("backoff after %d losses and %d tries in vain = %v, want %v to %v", tt.lost, tt.vain, got, most/2, most)
		}
	}
}

// listen returns what c receives.
func listen(t *testing.T, c *mqtt.Client) <-chan bus.Delivery {
	t.Helper()
	got := make(chan bus.Delivery, 1000)
	go func() { _ = c.Receive(context.WithoutCancel(t.Context()), func(d bus.Delivery) { got <- d }) }()
	return got
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 2 min")
		}
	}
}

func logTo(l *testenv.Log) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
