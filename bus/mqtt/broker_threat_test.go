package mqtt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/bus/mqtt/broker"
	"github.com/ipdc/ipdc/internal/testenv"
)

func TestQ01Credentials(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		key := newKey(t)
		dial(t, s.config(t, key)) // control
		for name, change := range map[string]func(c *mqtt.Config){
			"nobody":         func(c *mqtt.Config) { c.Password = nil },
			"wrong password": func(c *mqtt.Config) { c.Password = func() (string, error) { return "guess", nil } },
			"another's": func(c *mqtt.Config) {
				c.Password, c.Username = s.password(t, newKey(t)), string(newKey(t).ID())
			},
		} {
			cfg := s.config(t, key)
			change(&cfg)
			if _, err := mqtt.Dial(t.Context(), cfg); !errors.Is(err, mqtt.ErrCredential) {
				t.Errorf("Dial with %s = %v, want ErrCredential", name, err)
			}
		}
	})
}

func TestQ01OpenBroker(t *testing.T) {
	open := testenv.Mosquitto(t, nil, "", "", "")
	cfg := mqtt.Config{Broker: "mqtt://" + open.Addr, Self: newKey(t).ID(), Domain: home, Timeout: 5 * time.Second}
	if _, err := mqtt.Dial(t.Context(), cfg); !errors.Is(err, mqtt.ErrInsecure) || !strings.Contains(err.Error(), "anybody") {
		t.Errorf("Dial of a broker for everybody = %v, want ErrInsecure", err)
	}
	cfg.Insecure = true
	dial(t, cfg) // control
}

func TestQ01FarBrokerNeedsTLS(t *testing.T) {
	self, password := newKey(t).ID(), func() (string, error) { return "x", nil }
	for _, tt := range []struct {
		url      string
		password func() (string, error)
		want     error
	}{
		{"mqtt://192.0.2.1", password, mqtt.ErrInsecure},
		{"mqtts://192.0.2.1", nil, mqtt.ErrInsecure},
		{"mqtt://broker.example:1883", password, mqtt.ErrInsecure},
		{"mqtt://user:secret@127.0.0.1", password, mqtt.ErrConfig},
		{"http://127.0.0.1", password, mqtt.ErrConfig},
		{"mqtt://127.0.0.1/path", password, mqtt.ErrConfig},
		{"", password, mqtt.ErrConfig},
	} {
		_, err := mqtt.Dial(t.Context(), mqtt.Config{Broker: tt.url, Self: self, Domain: home, Password: tt.password})
		if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Dial(%s) = %v, want %v", tt.url, err, tt.want)
		}
	}
	if _, err := broker.Open(t.Context(), broker.Config{Listen: "0.0.0.0:0", Domain: home, Roster: members{}}); err == nil {
		t.Error("the embedded broker listens everywhere without TLS")
	}
}

func TestQ01H25TLS(t *testing.T) {
	cert, key, pool := certificate(t)
	self := newKey(t)
	m := testenv.Mosquitto(t, map[string]string{string(self.ID()): "secret"}, mqtt.MosquittoACL(home), cert, key)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(t.Context(), broker.Config{Domain: home, Roster: members{}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for name, cfg := range map[string]mqtt.Config{
		"mosquitto": {Broker: "mqtts://" + m.Addr, Password: func() (string, error) { return "secret", nil }},
		"embedded":  {Broker: "mqtts://" + b.Addr(), Password: signed(t, self)},
	} {
		cfg.Self, cfg.Domain, cfg.Timeout, cfg.TLS = self.ID(), home, 5*time.Second, &tls.Config{RootCAs: pool}
		c := dial(t, cfg) // control
		if err := c.Announce(t.Context(), bus.TopicOffers, []byte("x")); err != nil {
			t.Errorf("%s: Announce by TLS = %v", name, err)
		}
		cfg.TLS = nil
		unknown, err := mqtt.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatalf("%s: Dial = %v", name, err)
		}
		if err := unknown.Announce(t.Context(), bus.TopicOffers, []byte("x")); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: Announce to a broker of unknown authority = %v, want the certificate named", name, err)
		}
		_ = unknown.Close()
	}
}

// certificate makes one for 127.0.0.1 that vouches for itself.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	like := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, like, like, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(cert))
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), pool
}
