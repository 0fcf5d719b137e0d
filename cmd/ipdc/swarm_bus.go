package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/bus/mqtt/broker"
)

// busKind is what messages go by.
type busKind string

const (
	busP2P  busKind = "p2p"
	busMQTT busKind = "mqtt"
)

func (k *busKind) UnmarshalText(b []byte) error {
	if s := busKind(b); s != busP2P && s != busMQTT {
		return fmt.Errorf("%q: want p2p or mqtt", b)
	}
	*k = busKind(b)
	return nil
}

// messenger opens what messages go by: the host's own bus, or a broker, which
// this node may run itself.
func (s *swarm) messenger(ctx context.Context) (bus.Messenger, error) {
	id := bus.DomainID(s.is.ID())
	url := s.set.Broker
	if s.set.BrokerListen != "" {
		cert, err := s.brokerTLS()
		if err != nil {
			return nil, usagef("broker-cert: %w", err)
		}
		if s.broker, err = broker.Open(ctx, broker.Config{Listen: s.set.BrokerListen, TLS: cert, Domain: id, Roster: s.roster, Logger: s.log}); err != nil {
			return nil, fmt.Errorf("--broker-listen %s: %w", s.set.BrokerListen, err)
		}
		s.onClose(s.broker.Close)
		s.log.Info("the broker is open to members", "addr", s.broker.Addr(), "tls", cert != nil)
		if url == "" && cert == nil {
			url = "mqtt://" + s.broker.Addr()
		}
	}
	if s.set.Bus != busMQTT {
		return s.streams, nil
	}
	if url == "" {
		return nil, usagef("--bus mqtt needs --broker URL, such as mqtts://broker.example.org, or --broker-listen HOST:PORT")
	}
	cfg := mqtt.Config{Broker: url, Self: s.key.ID(), Domain: id, Password: mqtt.SignedPassword(id, s.key, s.proof), Logger: s.log}
	if file := s.set.BrokerPasswordFile; file != "" {
		cfg.Password = func() (string, error) { return readToken(file) }
	}
	var err error
	if cfg.TLS, err = s.brokerTrust(); err != nil {
		return nil, usagef("broker-ca: %w", err)
	}
	client, err := mqtt.Dial(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("--broker %s: %w", url, err)
	}
	s.onClose(client.Close)
	return client, nil
}

// brokerTLS is what the broker of this node shows, nil for no TLS.
func (s *swarm) brokerTLS() (*tls.Config, error) {
	if s.set.BrokerCert == "" && s.set.BrokerKey == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(s.set.BrokerCert, s.set.BrokerKey)
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, err
}

// brokerTrust is whom this node takes for the broker, nil for the host's
// authorities.
func (s *swarm) brokerTrust() (*tls.Config, error) {
	if s.set.BrokerCA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.set.BrokerCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", s.set.BrokerCA)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}
