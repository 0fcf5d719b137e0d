// Package s3 stores files in a bucket of any service that speaks S3.
//
//	st, err := s3.New(s3.Config{Endpoint: "https://s3.example.org", Bucket: "results", AccessKey: id, SecretKey: key})
//	err = st.Put(ctx, "2026/a.png", file)
//
// What is sent carries its MD5, which every such service compares; the object's
// SHA-256 stands in its metadata, as x-amz-meta-sha256. Large objects go in
// parts, and become visible when all parts are there.
package s3

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/ipdc/ipdc/delivery"
)

// partSize is how much of a large object is sent, and held in memory, at once,
// unless that makes more parts than the service takes.
const (
	partSize = 16 << 20
	maxParts = 10_000
)

// Config is what a Store is made of.
type Config struct {
	Endpoint  string // http:// or https://, host and port
	Region    string // default us-east-1
	Bucket    string // is there
	Prefix    string // of every object; default none
	AccessKey string // none: requests are not signed
	SecretKey string
	Transport http.RoundTripper // default minio's
}

// Store is a bucket.
type Store struct {
	cfg    Config
	client *minio.Client
}

var _ delivery.Store = (*Store)(nil)

// New returns a store; it does no I/O. The error says what is wrong with cfg.
func New(cfg Config) (*Store, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("endpoint %q is not https://HOST[:PORT]", cfg.Endpoint)
	}
	creds := credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	if cfg.AccessKey != "" {
		creds = credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: creds, Secure: u.Scheme == "https", Region: cmp.Or(cfg.Region, "us-east-1"), Transport: cfg.Transport,
		MaxRetries: 1, // the courier tries again, and says so
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", cfg.Endpoint, err)
	}
	return &Store{cfg: cfg, client: client}, nil
}

// Put implements [delivery.Store].
func (s *Store) Put(ctx context.Context, name string, f delivery.File) error {
	r, err := f.Open(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer r.Close()
	opts := minio.PutObjectOptions{
		PartSize: uint64(max(partSize, f.Size/(maxParts-1)+1)), DisableMultipart: f.Size <= partSize, ContentType: "application/octet-stream",
		SendContentMd5: true, UserMetadata: map[string]string{"sha256": hex.EncodeToString(f.Sum[:])},
	}
	// A minute and what 64 KiB/s take: a service that accepts a connection
	// and then says nothing must not hold a worker for ever.
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(f.Size/(64<<10))*time.Second)
	defer cancel()
	key := path.Join(s.cfg.Prefix, name)
	info, err := s.client.PutObject(ctx, s.cfg.Bucket, key, io.Reader(f.Check(r)), f.Size, opts)
	if err != nil {
		return fmt.Errorf("put %s into bucket %s: %w", key, s.cfg.Bucket, err)
	}
	if info.Size != f.Size {
		return fmt.Errorf("put %s into bucket %s: it has %d bytes there, not %d", key, s.cfg.Bucket, info.Size, f.Size)
	}
	return nil
}
