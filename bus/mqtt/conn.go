package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/ipdc/ipdc/bus/mqtt/internal/layout"
)

// errPacket ends a connection whose broker announces a packet that is too
// large or of a kind that was not asked for, or writes a length that is none.
var errPacket = errors.New("packet from the broker")

// gauge reads MQTT's fixed headers as they pass, and stops the stream before
// a packet that paho may not see reaches it. Source: MQTT 3.1.1, section 2.2.
type gauge struct {
	net.Conn
	max     int // of a message, in bytes after the fixed header
	filters int // in the one SUBSCRIBE of a session
	most    int // of this packet
	left    int // bytes of the packet that are still to come
	header  int // bytes of the fixed header that were seen
	length  int // as read so far
}

// Read reads from the connection, up to the end of what is allowed.
func (g *gauge) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if g.left > 0 {
			skip := min(g.left, len(rest))
			g.left -= skip
			rest = rest[skip:]
			continue
		}
		if err := g.see(rest[0]); err != nil {
			_ = g.Close()
			return 0, err
		}
		rest = rest[1:]
	}
	return n, err
}

// see takes one byte of a fixed header.
func (g *gauge) see(b byte) error {
	g.header++
	if g.header == 1 {
		most, err := g.allow(b>>4, b>>1&3)
		g.most = most
		return err
	}
	g.length |= int(b&0x7f) << (7 * (g.header - 2))
	if g.length > g.most {
		return fmt.Errorf("%w: %d bytes or more, at most %d are read", errPacket, g.length, g.most)
	}
	if b&0x80 == 0 {
		g.left, g.length, g.header = g.length, 0, 0
		return nil
	}
	if g.header == 5 {
		return fmt.Errorf("%w: a length of more than 4 bytes", errPacket)
	}
	return nil
}

// allow returns how long a packet may be, in bytes. We ask for QoS 1 at most:
// what comes with QoS 2 paho keeps until the broker releases it, 65,535
// messages of it, and more codes in a SUBACK than there are filters make it
// panic.
func (g *gauge) allow(kind, qos byte) (most int, err error) {
	switch kind {
	case packets.Publish:
		if qos > 1 {
			return 0, fmt.Errorf("%w: a message with QoS %d, at most 1 was asked for", errPacket, qos)
		}
		return g.max, nil
	case packets.Suback:
		return 2 + g.filters, nil
	case packets.Connack, packets.Puback, packets.Pingresp, packets.Disconnect: // the last as some brokers say it before they close
		return 2, nil
	}
	return 0, fmt.Errorf("%w: type %d, which no client of QoS 1 is sent", errPacket, kind)
}

// open connects to the broker.
func (e endpoint) open(ctx context.Context, cfg Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	conn, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	if e.tls {
		conf := &tls.Config{}
		if cfg.TLS != nil {
			conf = cfg.TLS.Clone()
		}
		if conf.ServerName == "" {
			conf.ServerName = e.host
		}
		conf.MinVersion = max(conf.MinVersion, tls.VersionTLS12)
		secured := tls.Client(conn, conf)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("TLS with %s: %w", e.addr, err)
		}
		conn = secured
	}
	return &gauge{Conn: conn, max: MaxPacket, filters: len(layout.Of(cfg.Domain).Filters(cfg.Self))}, nil
}
