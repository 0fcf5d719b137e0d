package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/delivery/webhook"
)

var message = delivery.Message{ID: "msg_1", Time: time.Unix(1_700_000_000, 0), Body: []byte(`{"type":"job.ended"}`)}

func TestTell(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	var got *http.Request
	var body []byte
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer h.Close()
	r, err := webhook.New(webhook.Config{URL: h.URL + "/hook", Secret: "whsec_" + base64.StdEncoding.EncodeToString(key), Header: http.Header{"X-Team": {"ops"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Tell(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	// What a receiver computes, as the specification words it.
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("msg_1.1700000000." + string(message.Body)))
	for name, want := range map[string]string{
		"webhook-id": "msg_1", "webhook-timestamp": "1700000000", "x-team": "ops", "content-type": "application/json",
		"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s = %q, want %q", name, v, want)
		}
	}
	if string(body) != string(message.Body) || got.Method != http.MethodPost || got.URL.Path != "/hook" {
		t.Errorf("%s %s with %q", got.Method, got.URL, body)
	}
}

func TestS30TellFails(t *testing.T) {
	followed := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer other.Close()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, other.URL, http.StatusPermanentRedirect)
			return
		}
		http.Error(w, "try later", http.StatusServiceUnavailable)
	}))
	defer h.Close()
	for path, want := range map[string]string{"/busy": "try later", "/moved": "308"} {
		r, err := webhook.New(webhook.Config{URL: h.URL + path})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Tell(t.Context(), message); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Tell at %s = %v, want %q", path, err, want)
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

func TestSecret(t *testing.T) {
	for _, secret := range []string{"hunter2hunter2hunter2hunter2", "whsec_", "whsec_!!!", "whsec_" + base64.StdEncoding.EncodeToString([]byte("short"))} {
		_, err := webhook.New(webhook.Config{URL: "https://example.org", Secret: secret})
		if err == nil || strings.Contains(err.Error(), secret) && len(secret) > 6 {
			t.Errorf("New with secret %q = %v, want a refusal that does not show it", secret, err)
		}
	}
}
