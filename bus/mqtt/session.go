package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// session is one connection to the broker. paho's own reconnecting is not
// used: it has no jitter, and keeps messages.
type session struct {
	paho paho.Client
	lost chan error // holds one: why the connection broke
	conn net.Conn
}

// cut breaks the connection without a goodbye, so that paho lets go of what it
// keeps.
func (s *session) cut(why error) {
	s.lose(why)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // paho takes a Close for its own
}

// lose tells the first reason.
func (s *session) lose(why error) {
	select {
	case s.lost <- why:
	default:
	}
}

// connect opens a session, subscribed, at a broker that refuses strangers.
func (c *Client) connect(ctx context.Context) (*session, error) {
	if err := c.probe(ctx); err != nil {
		return nil, err
	}
	s := &session{lost: make(chan error, 1)}
	o := c.options(string(c.cfg.Self), func() (conn net.Conn, err error) {
		s.conn, err = c.at.open(ctx, c.cfg)
		return s.conn, err
	})
	if c.cfg.Password != nil {
		password, err := c.cfg.Password()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		o.SetUsername(c.cfg.Username).SetPassword(password)
	}
	o.SetBinaryWill(c.topics.Gone(c.cfg.Self), []byte("1"), 1, false)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { c.take(m) })
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { s.lose(err) })
	s.paho = paho.NewClient(o)
	if err := c.await(ctx, s.paho.Connect()); err != nil {
		s.paho.Disconnect(0)
		if refusal(err) {
			return nil, fmt.Errorf("%w: %s: %w", ErrCredential, c.at.addr, err)
		}
		return nil, fmt.Errorf("connect to %s: %w", c.at.addr, err)
	}
	filters := map[string]byte{}
	for _, f := range c.topics.Filters(c.cfg.Self) {
		filters[f] = 1
	}
	if err := c.subscribe(ctx, s, filters); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (c *Client) subscribe(ctx context.Context, s *session, filters map[string]byte) error {
	token := s.paho.SubscribeMultiple(filters, nil)
	if err := c.await(ctx, token); err != nil {
		return fmt.Errorf("subscribe at %s: %w", c.at.addr, err)
	}
	for filter, granted := range token.(*paho.SubscribeToken).Result() {
		if granted > 2 {
			return fmt.Errorf("%w: %s does not let %s read %s", ErrCredential, c.at.addr, c.cfg.Username, filter)
		}
	}
	return nil
}

// refusal reports whether a broker says that it does not let a client in.
func refusal(err error) bool {
	return errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) || errors.Is(err, packets.ErrorRefusedNotAuthorised) || errors.Is(err, packets.ErrorRefusedIDRejected)
}

// probe returns ErrInsecure when the broker lets in who has no credentials, and
// nil when it refuses him: nothing else proves that it would. One proof will do.
func (c *Client) probe(ctx context.Context) error {
	if c.cfg.Insecure || c.refuses {
		return nil
	}
	o := c.options("ipdc-probe-"+c.cfg.Self.Short(), func() (net.Conn, error) { return c.at.open(ctx, c.cfg) })
	p := paho.NewClient(o)
	defer p.Disconnect(0)
	err := c.await(ctx, p.Connect())
	if err == nil {
		return fmt.Errorf("%w: %s lets anybody in; set allow_anonymous false and passwords there, or \"insecure\" here", ErrInsecure, c.at.addr)
	}
	if !refusal(err) {
		return fmt.Errorf("ask %s whether it refuses clients without credentials (\"insecure\" does not ask): %w", c.at.addr, err)
	}
	c.refuses = true
	return nil
}

func (c *Client) options(id string, open func() (net.Conn, error)) *paho.ClientOptions {
	o := paho.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: "tcp", Host: c.at.addr}}
	o.SetClientID(id)
	o.SetProtocolVersion(4)
	o.SetCleanSession(true)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetOrderMatters(true)
	o.SetKeepAlive(30 * time.Second)
	o.SetPingTimeout(c.cfg.Timeout)
	o.SetConnectTimeout(c.cfg.Timeout)
	o.SetWriteTimeout(c.cfg.Timeout)
	o.SetMessageChannelDepth(uint(c.cfg.InFlight))
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return open() })
	return o
}

// await waits for paho, for the time that is configured.
func (c *Client) await(ctx context.Context, token paho.Token) error {
	late := time.NewTimer(c.cfg.Timeout)
	defer late.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fmt.Errorf("no answer in %v", c.cfg.Timeout)
	}
}

// close ends the session with a goodbye, without which the will is sent.
func (s *session) close() { s.paho.Disconnect(250) }
