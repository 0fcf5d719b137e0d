package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt/internal/layout"
	"github.com/ipdc/ipdc/identity"
)

// Client is a member's connection to a broker.
type Client struct {
	cfg    Config
	at     endpoint
	topics layout.Topics
	inbox  *bus.Inbox
	slots  chan struct{} // one for each message in flight
	stop   context.CancelCauseFunc
	done   sync.WaitGroup // the goroutine that keeps the connection
	acks   sync.WaitGroup // messages on their way; added to under mu, while there is a session

	refuses bool // that the broker refuses strangers is known; of Dial, then of keep

	mu      sync.Mutex
	session *session // nil while there is none
	why     error    // why there is none
	kept    map[bus.Topic][]byte

	stats struct{ connects, foreign, retained atomic.Int64 }
}

var _ bus.Messenger = (*Client)(nil)

// Stats are counts since Dial.
type Stats struct {
	Connects int64 // connections made
	Full     int64 // messages dropped as nobody received them in time
	Foreign  int64 // messages dropped on topics, or of sizes, that are none of ours
	Retained int64 // messages dropped as they were retained and may not be
}

// Dial connects to the broker. It fails for what no retry mends: ErrConfig,
// ErrInsecure and ErrCredential. A broker that does not answer is no error: Dial
// goes on trying, and calls get bus.ErrUnavailable meanwhile. The Client lives
// until Close, not until the end of ctx.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg, at, err := cfg.check()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, at: at, topics: layout.Of(cfg.Domain), inbox: bus.NewInbox(cfg.Queue), slots: make(chan struct{}, cfg.InFlight), kept: map[bus.Topic][]byte{}}
	first, err := c.connect(ctx)
	if fatal(err) || ctx.Err() != nil {
		if first != nil {
			first.close()
		}
		return nil, errors.Join(err, ctx.Err())
	}
	c.become(first, err)
	living, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	c.stop = stop
	c.done.Go(func() { c.keep(living, first) })
	return c, nil
}

func fatal(err error) bool {
	return errors.Is(err, ErrConfig) || errors.Is(err, ErrInsecure) || errors.Is(err, ErrCredential)
}

// become makes s what messages go by. What is kept is told again before: the
// broker may have lost it, or have told that this member is gone.
func (c *Client) become(s *session, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.why = s, why
	if s == nil {
		return
	}
	c.stats.connects.Add(1)
	for topic, payload := range c.kept {
		c.hand(s, s.paho.Publish(c.topics.All(topic, c.cfg.Self), 1, true, payload), func() {})
	}
}

// steady is how long a connection lives before the next loss counts as new.
const steady = time.Minute

// keep reconnects until ctx ends, more rarely while that does not last: another
// client with this node's credentials would take the connection away at once,
// and the two would kick each other for ever.
func (c *Client) keep(ctx context.Context, s *session) {
	for lost, vain := 0, 0; ; {
		if s != nil {
			since := time.Now()
			var err error
			select {
			case <-ctx.Done():
				c.leave(s)
				return
			case err = <-s.lost:
			}
			vain = 0
			if time.Since(since) > steady {
				lost = 0
			}
			if lost++; lost == 4 {
				c.cfg.Logger.Error("the broker keeps ending the connection; does another node use this identity?", "broker", c.at.addr, "err", err)
			}
			c.become(nil, err)
			c.cfg.Logger.Warn("connection to the broker lost", "broker", c.at.addr, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff(c.cfg.Retry, lost, vain)):
		}
		var err error
		if s, err = c.connect(ctx); err != nil {
			vain++
			s, lost = nil, 0 // the broker was away, and not at odds with this node
			c.cfg.Logger.Warn("no connection to the broker", "broker", c.at.addr, "err", err)
		}
		c.become(s, err)
	}
}

// backoff is between half of and all of first, doubled with each connection that
// was lost, up to 64 times, or with each try in vain, up to 8 times: while the
// broker is away this node hears nobody, and nobody hears it.
func backoff(first time.Duration, lost, vain int) time.Duration {
	d := first << max(min(lost-1, 6), min(vain-1, 3), 0)
	return d/2 + rand.N(d/2+1)
}

// Announce publishes to all, retained where the topic is Kept.
func (c *Client) Announce(ctx context.Context, topic bus.Topic, payload []byte) error {
	if err := bus.CheckAnnounce(topic, payload); err != nil {
		return err
	}
	if topic.Kept() {
		c.mu.Lock()
		c.kept[topic] = bytes.Clone(payload)
		c.mu.Unlock()
	}
	return c.publish(ctx, c.topics.All(topic, c.cfg.Self), topic.Kept(), payload)
}

// Send publishes to the inbox of one.
func (c *Client) Send(ctx context.Context, to identity.ID, payload []byte) error {
	if err := bus.CheckSend(c.cfg.Self, to, payload); err != nil {
		return err
	}
	return c.publish(ctx, c.topics.To(to, c.cfg.Self), false, payload)
}

// publish hands payload to the broker and waits until it says that it has it.
func (c *Client) publish(ctx context.Context, topic string, retain bool, payload []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.inbox.Closed() {
		return bus.ErrClosed
	}
	c.mu.Lock()
	s, why := c.session, c.why
	if s != nil { // after Close there is none
		c.acks.Add(1)
		defer c.acks.Done()
	}
	c.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: broker %s: %w", bus.ErrUnavailable, c.at.addr, why)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := c.await(ctx, c.hand(s, s.paho.Publish(topic, 1, retain, bytes.Clone(payload)), func() { <-c.slots }))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil: // both may have happened: paho takes no context while a connection goes
		return ctx.Err()
	}
	return fmt.Errorf("%w: broker %s: %w", bus.ErrUnavailable, c.at.addr, err)
}

// hand calls done, which gives the slot of a message back, when the broker has
// acknowledged it. That outlives the caller's patience: paho keeps the message
// until then. A broker that does not in time loses the session.
func (c *Client) hand(s *session, token paho.Token, done func()) paho.Token {
	c.acks.Go(func() {
		defer done()
		switch ok := token.WaitTimeout(c.cfg.Timeout); {
		case !ok:
			s.cut(fmt.Errorf("no acknowledgement in %v", c.cfg.Timeout))
		case token.Error() != nil:
			s.cut(token.Error())
		}
	})
	return token
}

// take sorts what the broker sends; it never waits.
func (c *Client) take(m paho.Message) {
	a, ok := c.topics.Parse(m.Topic())
	switch n := len(m.Payload()); {
	case !ok, a.To != "" && a.To != c.cfg.Self, n > bus.MaxMessage:
		c.stats.foreign.Add(1)
	case a.From == c.cfg.Self:
		// MQTT 3.1.1 gives a client its own announcements too.
	case m.Retained() && !a.Topic.Kept():
		c.stats.retained.Add(1)
	case a.Gone:
		c.inbox.Put(bus.Delivery{From: a.From, Gone: true})
	case n > 0: // an empty one takes away what was retained
		c.inbox.Put(bus.Delivery{Topic: a.Topic, From: a.From, Payload: bytes.Clone(m.Payload()), Kept: m.Retained()})
	}
}

// Receive calls handle for each message.
func (c *Client) Receive(ctx context.Context, handle func(bus.Delivery)) error {
	return c.inbox.Receive(ctx, handle)
}

// Stats returns the counts.
func (c *Client) Stats() Stats {
	return Stats{Connects: c.stats.connects.Load(), Full: c.inbox.Dropped(), Foreign: c.stats.foreign.Load(), Retained: c.stats.retained.Load()}
}

// Close takes away what the broker keeps of this member, tells the others, and
// disconnects.
func (c *Client) Close() error {
	c.inbox.Close()
	c.stop(bus.ErrClosed)
	c.done.Wait()
	c.acks.Wait()
	return nil
}

// leave is the goodbye on s.
func (c *Client) leave(s *session) {
	c.mu.Lock()
	topics := slices.Collect(maps.Keys(c.kept))
	c.session, c.why = nil, bus.ErrClosed
	c.mu.Unlock()
	// ctx has ended; this takes no longer than the time of one acknowledgement.
	last := []paho.Token{s.paho.Publish(c.topics.Gone(c.cfg.Self), 1, false, []byte("1"))}
	for _, topic := range topics {
		last = append(last, s.paho.Publish(c.topics.All(topic, c.cfg.Self), 1, true, []byte{}))
	}
	defer s.close()
	late := time.NewTimer(c.cfg.Timeout)
	defer late.Stop()
	for _, token := range last {
		select {
		case <-token.Done():
		case <-s.lost: // nobody is there who could acknowledge it
			return
		case <-late.C:
			return
		}
	}
}
