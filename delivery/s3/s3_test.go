package s3_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/delivery/deliverytest"
	"github.com/ipdc/ipdc/delivery/s3"
	"github.com/ipdc/ipdc/internal/testenv"
)

func TestS3(t *testing.T) {
	deliverytest.Test(t, func(t *testing.T) deliverytest.Place {
		server := testenv.S3(t)
		st, err := s3.New(s3.Config{
			Endpoint: server.Endpoint, Bucket: server.Bucket, Prefix: "nightly/x",
			AccessKey: server.AccessKey, SecretKey: server.SecretKey,
		})
		if err != nil {
			t.Fatal(err)
		}
		return deliverytest.Place{Store: st, Read: func(path string) ([]byte, bool) {
			b, err := os.ReadFile(server.Path("nightly/x/" + path))
			return b, err == nil
		}}
	})
}

// The service compares what arrives with what was announced: bytes that change
// on the way are refused, and the same request unchanged is taken.
func TestS3DamageOnTheWay(t *testing.T) {
	server := testenv.S3(t)
	for damage, taken := range map[bool]bool{true: false, false: true} {
		st, err := s3.New(s3.Config{
			Endpoint: server.Endpoint, Bucket: server.Bucket, AccessKey: server.AccessKey, SecretKey: server.SecretKey,
			Transport: &meddler{damage: damage},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Put(t.Context(), "a", deliverytest.File([]byte("some content"))); (err == nil) != taken {
			t.Errorf("Put with damage %v = %v, want taken: %v", damage, err, taken)
		}
		if _, err := os.Stat(server.Path("a")); (err == nil) != taken {
			t.Errorf("with damage %v the object is there: %v", damage, err)
		}
		_ = os.Remove(server.Path("a"))
	}
}

func TestS3Refused(t *testing.T) {
	server := testenv.S3(t)
	for name, cfg := range map[string]s3.Config{
		"secret": {Endpoint: server.Endpoint, Bucket: server.Bucket, AccessKey: server.AccessKey, SecretKey: "wrong"},
		"bucket": {Endpoint: server.Endpoint, Bucket: "nobodys", AccessKey: server.AccessKey, SecretKey: server.SecretKey},
	} {
		st, err := s3.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = st.Put(t.Context(), "a", deliverytest.File([]byte("x")))
		if err == nil || strings.Contains(err.Error(), "wrong") {
			t.Errorf("Put with a wrong %s = %v, want an error without the secret", name, err)
		}
	}
	for _, endpoint := range []string{"", "s3.example.org", "ftp://example.org", "https://example.org/path"} {
		if _, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: "results"}); err == nil {
			t.Errorf("New with endpoint %q = nil", endpoint)
		}
	}
}

// A service that fails is reported, not waited for.
func TestS3Unwell(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer h.Close()
	st, err := s3.New(s3.Config{Endpoint: h.URL, Bucket: "results"})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Put(t.Context(), "a", deliverytest.File([]byte("x"))); err == nil || errors.Is(err, t.Context().Err()) {
		t.Errorf("Put = %v, want the service's status", err)
	}
}
