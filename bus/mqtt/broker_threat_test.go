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
	cert, key, pool := certificate(t, nil)
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

// What a trusted authority says of another machine, or said once, is not enough,
// nor is an old version of TLS: a member refuses such a broker, and the embedded
// broker such a client.
func TestH25BadTLS(t *testing.T) {
	old := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
	for name, c := range map[string]struct {
		cert func(*x509.Certificate)
		conf func(*tls.Config)
		want string // in the error; "" = none
	}{
		"control":         {want: ""},
		"another machine": {cert: func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} }, want: "certificate is valid for 192.0.2.1"},
		"expired":         {cert: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, want: "expired"},
		"TLS 1.1":         {conf: old, want: "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			cert, key, pool := certificate(t, c.cert)
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			conf := &tls.Config{Certificates: []tls.Certificate{pair}}
			if c.conf != nil {
				c.conf(conf)
			}
			b, err := broker.Open(t.Context(), broker.Config{Domain: home, Roster: members{}, TLS: conf})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			self := newKey(t)
			m, err := mqtt.Dial(t.Context(), mqtt.Config{
				Broker: "mqtts://" + b.Addr(), Self: self.ID(), Domain: home, Password: signed(t, self), Timeout: 5 * time.Second, TLS: &tls.Config{RootCAs: pool},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			err = m.Announce(t.Context(), bus.TopicOffers, []byte("x"))
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("Announce = %v, want %q", err, c.want)
			}
			if c.want != "" {
				return
			}
			for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true} {
				conn, err := tls.Dial("tcp", b.Addr(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: version})
				if err == nil {
					conn.Close()
				}
				if (err == nil) != ok {
					t.Errorf("a client of %s: %v, want taken %v", tls.VersionName(version), err, ok)
				}
			}
		})
	}
}

// certificate makes one for 127.0.0.1 that vouches for itself, after change if
// that is not nil.
func certificate(t *testing.T, change func(*x509.Certificate)) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	like := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	if change != nil {
		change(like)
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
