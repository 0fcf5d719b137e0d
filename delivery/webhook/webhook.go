// Package webhook tells a web server of things by POST, signed as the Standard
// Webhooks specification says (https://www.standardwebhooks.com).
//
//	r, err := webhook.New(webhook.Config{URL: "https://example.org/hook", Secret: "whsec_..."})
//	err = r.Tell(ctx, delivery.Message{ID: "msg_1", Time: now, Body: body})
//
// Redirects are not followed.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ipdc/ipdc/delivery"
)

// secretPrefix begins a secret as it is written.
const secretPrefix = "whsec_"

// minSecret is how many bytes a secret has at least, by the specification.
const minSecret = 24

// Config is what a Receiver is made of.
type Config struct {
	URL string
	// Secret is "whsec_" and 24 to 64 bytes in base64, which the server knows,
	// too; none leaves messages unsigned.
	Secret    string
	Header    http.Header       // of every request; default none
	Timeout   time.Duration     // of one request; default 15 s
	Transport http.RoundTripper // default http.DefaultTransport
}

// Receiver is a web server.
type Receiver struct {
	cfg    Config
	secret []byte
	client http.Client
}

var _ delivery.Receiver = (*Receiver)(nil)

// New returns a receiver; it does no I/O. The error says what is wrong with
// the secret, without showing it.
func New(cfg Config) (*Receiver, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	r := &Receiver{cfg: cfg, client: http.Client{Transport: cfg.Transport, Timeout: cfg.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	if cfg.Secret == "" {
		return r, nil
	}
	text, ok := strings.CutPrefix(cfg.Secret, secretPrefix)
	secret, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(secret) < minSecret {
		return nil, errors.New("the secret is not whsec_ and at least 24 bytes in base64, as of: echo whsec_$(openssl rand -base64 32)")
	}
	r.secret = secret
	return r, nil
}

// Tell implements [delivery.Receiver]: any status of 200 to 299 takes the
// message.
func (r *Receiver) Tell(ctx context.Context, m delivery.Message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.cfg.URL, bytes.NewReader(m.Body))
	if err != nil {
		return fmt.Errorf("tell %s: %w", r.cfg.URL, err)
	}
	for name, values := range r.cfg.Header {
		req.Header[name] = values
	}
	stamp := strconv.FormatInt(m.Time.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", stamp)
	if r.secret != nil {
		req.Header.Set("webhook-signature", "v1,"+sign(r.secret, m.ID, stamp, m.Body))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("tell %s: %w", r.cfg.URL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("tell %s: it answered %s: %q", r.cfg.URL, resp.Status, said)
	}
	return nil
}

// sign returns the signature of a message in base64.
func sign(secret []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.", id, stamp)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
