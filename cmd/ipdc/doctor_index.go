package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ipdc/ipdc/sidecar/pip"
)

// indexTime bounds the question to the package index.
const indexTime = 5 * time.Second

// clockSkew is how far off the index's clock may seem.
const clockSkew = 2 * time.Minute

// checkIndex asks the package index for one page, as the installation of
// requirements would.
func (a *app) checkIndex(ctx context.Context) []finding {
	name, file := "ca-file", a.set.CAFile
	if file == "" {
		name, file = "SSL_CERT_FILE", os.Getenv("SSL_CERT_FILE")
	}
	if file == "" {
		name, file = "the system's", (&node{set: a.set}).authorities()
	}
	pool, ca := authorities(name, file)
	return append([]finding{ca}, askIndex(ctx, cmp.Or(a.set.Index, os.Getenv(pip.EnvIndex), pip.DefaultIndex), pool)...)
}

// authorities returns the certificates that jobs with a network are shown, of
// the file that name gives.
func authorities(name, file string) (*x509.CertPool, finding) {
	const advice = "set SSL_CERT_FILE or ca-file to a bundle of PEM certificates, or install ca-certificates"
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	b, err := os.ReadFile(file)
	switch {
	case err != nil:
		return pool, ok("ca", "%s: %v", name, err).warn(advice)
	case !pool.AppendCertsFromPEM(b):
		return pool, ok("ca", "%s: %s holds no certificate", name, file).warn(advice)
	}
	return pool, ok("ca", "%s (%s)", file, name)
}

func askIndex(ctx context.Context, index string, pool *x509.CertPool) []finding {
	const need = "jobs with -r need it; set PIP_INDEX_URL, HTTPS_PROXY and SSL_CERT_FILE as for pip, or give wheels"
	u, err := url.Parse(index)
	if err != nil || u.Host == "" {
		return []finding{ok("index", "the setting is no URL").warn(need)}
	}
	ctx, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	page := u.JoinPath("pip/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return []finding{ok("index", "the setting is no URL").warn(need)}
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	defer t.CloseIdleConnections()
	via := ""
	if p, err := t.Proxy(req); err == nil && p != nil {
		via = " by way of the proxy " + p.Host
	}
	begin := time.Now()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return []finding{ok("index", "%s%s does not answer: %s", u.Redacted(), via, plainError(err)).warn(need)}
	}
	_ = resp.Body.Close()
	f := ok("index", "%s%s answers in %s", u.Redacted(), via, span(time.Since(begin)))
	if resp.StatusCode >= 400 {
		f = ok("index", "%s%s answers %s", u.Redacted(), via, resp.Status).warn(need)
	}
	return append([]finding{f}, compareClocks(resp.Header.Get("Date"), time.Now())...)
}

// plainError leaves out the URL, which may hold a password.
func plainError(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("nothing came for %s", indexTime)
	}
	return strings.TrimSpace(err.Error())
}

// compareClocks tells when the index's clock shows another time.
func compareClocks(date string, now time.Time) []finding {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return nil
	}
	if off := now.Sub(theirs); off.Abs() > clockSkew {
		return []finding{ok("clock", "%s off the package index's", off.Round(time.Second)).
			warn("receipts would carry wrong times; set the clock (timedatectl set-ntp true)")}
	}
	return nil
}
