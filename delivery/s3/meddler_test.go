package s3_test

import (
	"bytes"
	"io"
	"net/http"
)

// meddler passes requests on, with one bit of their content changed.
type meddler struct{ damage bool }

func (m *meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Method == http.MethodPut {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if i := bytes.Index(b, []byte("content")); m.damage && i >= 0 {
			b[i] ^= 1
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	return http.DefaultTransport.RoundTrip(r)
}
