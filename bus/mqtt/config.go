// Package mqtt is a Messenger over a broker of MQTT 3.1.1: the embedded one
// (bus/mqtt/broker), mosquitto, or another. It has no streams; those are
// borrowed from libp2p.
//
//	m, err := mqtt.Dial(ctx, mqtt.Config{
//		Broker: "mqtts://broker.lan:8883", Self: key.ID(), Domain: domain,
//		Password: func() (string, error) { return secret, nil },
//	})
//	go m.Receive(ctx, handle)
//	err = m.Send(ctx, peer, payload)
//
// Invariants: nothing that the broker sends is trusted with memory: a packet's
// kind and length are checked before it is read, queues are bounded. No session is left
// on the broker; what comes while the connection is down is lost.
package mqtt

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt/internal/layout"
	"github.com/ipdc/ipdc/identity"
)

// MaxPacket is the size of the largest packet that is read, in bytes without
// its fixed header: a message and its topic. Set max_packet_size of a mosquitto
// to 34000: with more, a member can end the connections of others.
const MaxPacket = layout.MaxPacket

// Config is what a connection needs.
type Config struct {
	Broker   string                 // mqtt://host[:1883] or mqtts://host[:8883]
	Self     identity.ID            // required; also the client id
	Domain   bus.DomainID           // required
	Username string                 // "" means Self
	Password func() (string, error) // asked at each connection; nil: none
	TLS      *tls.Config            // for mqtts; nil: the host's authorities
	// Insecure allows a broker elsewhere without TLS or password, and one that
	// lets anybody in. For tests, and networks that are protected otherwise.
	Insecure bool
	Queue    int           // messages that wait for Receive; 0 means 256
	InFlight int           // messages sent and not acknowledged; 0 means 64
	Timeout  time.Duration // of connecting, and of an acknowledgement; 0 means 10s
	Retry    time.Duration // before the first reconnect, doubling to 64 times that, or 8 times while the broker is away; 0 means 1s
	Logger   *slog.Logger  // nil: none
}

// SignedPassword returns what Config.Password is for an embedded broker: each
// password is signed by the member and holds for minutes.
func SignedPassword(d bus.DomainID, key identity.Key, certificate func() []byte) func() (string, error) {
	return func() (string, error) { return layout.NewPass(d, key, certificate(), time.Now()) }
}

// MosquittoACL returns the acl_file of a mosquitto that serves a domain: each
// user, who is named like his node, is held to that name.
func MosquittoACL(d bus.DomainID) string {
	t := "ipdc/" + string(d) + "/"
	return "pattern write " + t + "all/+/%u\npattern write " + t + "to/+/%u\npattern write " + t + "gone/%u\n" +
		"pattern read " + t + "all/+/+\npattern read " + t + "to/%u/+\npattern read " + t + "gone/+\n"
}

// Refusals of a configuration or a broker, which no retry mends.
var (
	ErrConfig     = errors.New("mqtt configuration")
	ErrInsecure   = errors.New("broker is not protected")
	ErrCredential = errors.New("broker refuses the credentials")
)

// endpoint is where the broker is.
type endpoint struct {
	addr string // host:port
	host string
	tls  bool
}

// check fills in defaults and finds the broker, or says what is wrong.
func (c Config) check() (Config, endpoint, error) {
	if c.Queue <= 0 {
		c.Queue = 256
	}
	if c.InFlight <= 0 {
		c.InFlight = 64
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Retry <= 0 {
		c.Retry = time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Username == "" {
		c.Username = string(c.Self)
	}
	e, err := parseBroker(c.Broker)
	if err == nil {
		_, err = identity.ParseID(string(c.Self))
	}
	if err == nil {
		_, err = bus.ParseDomainID(string(c.Domain))
	}
	if err == nil && (len(c.Username) > 128 || strings.ContainsFunc(c.Username, func(r rune) bool { return r < '!' || r > '~' || strings.ContainsRune("#+/$", r) })) {
		err = fmt.Errorf("user name %.40q: up to 128 printable characters without # + / $", c.Username)
	}
	if err != nil {
		return c, e, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if !c.Insecure && !loopback(e.host) && (!e.tls || c.Password == nil) {
		return c, e, fmt.Errorf("%w: %s is on another machine and needs mqtts:// and a password; \"insecure\" allows it without", ErrInsecure, e.addr)
	}
	return c, e, nil
}

func parseBroker(s string) (endpoint, error) {
	u, err := url.Parse(s)
	if err != nil {
		return endpoint{}, errors.New("broker: not a URL") // the text could hold a password
	}
	port := map[string]string{"mqtt": "1883", "mqtts": "8883"}[u.Scheme]
	switch {
	case u.User != nil:
		return endpoint{}, errors.New("broker: no credentials in the URL; they have settings of their own")
	case port == "" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return endpoint{}, fmt.Errorf("broker %.80q: want mqtt://HOST[:1883] or mqtts://HOST[:8883]", s)
	case u.Port() != "":
		port = u.Port()
	}
	return endpoint{addr: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), tls: u.Scheme == "mqtts"}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
