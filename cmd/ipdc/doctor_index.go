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
)

// indexTime bounds the question to the package index.
const indexTime = 5 * time.Second

// clockSkew is how far off the index's clock may seem.
const clockSkew = 2 * time.Minute

// caVars name a CA bundle, in the order in which they are heeded.
var caVars = []string{"PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"}

// checkIndex asks the package index for one page, as the installation of
// requirements would.
func (a *app) checkIndex(ctx context.Context) []finding {
	pool, ca := authorities(os.Getenv)
	index := cmp.Or(os.Getenv("PIP_INDEX_URL"), "https://pypi.org/simple")
	return append([]finding{ca}, askIndex(ctx, index, pool)...)
}

// authorities returns the certificates that are trusted here.
func authorities(env func(string) string) (*x509.CertPool, finding) {
	const advice = "set SSL_CERT_FILE to a bundle of PEM certificates, or install ca-certificates"
	pool, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool(), ok("ca", "%v", err).warn(advice)
	}
	for _, name := range caVars {
		file := env(name)
		if file == "" {
			continue
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
	return pool, ok("ca", "the system's certificates")
}

func askIndex(ctx context.Context, index string, pool *x509.CertPool) []finding {
	const need = "jobs with -r need it; set PIP_INDEX_URL, HTTPS_PROXY and SSL_CERT_FILE as for pip, or give wheels"
	u, err := url.Parse(index)
	if err != nil || u.Host == "" {
		return []finding{ok("index", "PIP_INDEX_URL is no URL").warn(need)}
	}
	ctx, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	page := u.JoinPath("pip/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return []finding{ok("index", "PIP_INDEX_URL is no URL").warn(need)}
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
