package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/courier"
)

const someOutlets = `
publish:
- url: s3://results/nightly
  endpoint: https://s3.example.org
  access_key: id
  secret_key: very-secret
- url: s3://results/nightly/alice
  endpoint: https://s3.example.net
  tenants: [alice]
- url: https://example.org/put
  headers: {Authorization: Bearer very-secret}
- url: file:///srv/results
- url: file:///srv/shared
  members: true
- url: s3://broken
  endpoint: nowhere
notify:
- url: https://example.org/hook
  secret: very-secret
- url: https://example.org/signed
  secret: whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
- url: exec:mail
  command: [/usr/local/bin/mail-us]
- url: exec:relative
  command: [mail-us]
`

func TestS30OutletsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "outlets.yaml")
	f := outletsFile(file)
	refused := func(why string, err error, want string) {
		t.Helper()
		if !errors.Is(err, jobspec.KindPolicy.Error()) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%s: %v, want E_POLICY with %q and no secret", why, err, want)
		}
	}
	store := func(tenant, to string) error {
		t.Helper()
		o, err := jobspec.ParsePublish(to)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Store(courier.Who{Tenant: tenant}, o)
		return err
	}
	tell := func(to string) error {
		t.Helper()
		o, err := jobspec.ParseNotify(to)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Receiver(courier.Who{Tenant: "bob"}, o)
		return err
	}
	refused("no file", store("bob", "s3://results/nightly"), "does not permit")
	if err := os.WriteFile(file, []byte(someOutlets), 0o644); err != nil {
		t.Fatal(err)
	}
	refused("a file that others read", store("bob", "s3://results/nightly"), "mode 0644")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"s3://results/nightly", "s3://results/nightly/{job}", "https://example.org/put/x", "file:///srv/results/{cid}"} {
		if err := store("bob", to); err != nil {
			t.Errorf("Store(%s) = %v", to, err)
		}
	}
	for _, to := range []string{"https://example.org/signed/x", "exec:mail"} {
		if err := tell(to); err != nil {
			t.Errorf("Receiver(%s) = %v", to, err)
		}
	}
	for _, to := range []string{"s3://results", "s3://results/nightlyx", "s3://other/nightly", "http://example.org/put", "https://example.org/put2", "file:///srv", "file:///etc"} {
		refused(to, store("bob", to), "does not permit")
	}
	// What looks like a place that is permitted, and is another or no place at all.
	for _, to := range []string{
		"https://example.org@192.0.2.1/put", "https://example.org.example.net/put", "https://example.org:8443/put", "https://127.0.0.1/put",
		"http://169.254.169.254/put", "https://example.org/put/../secret", "https://example.org/put%2f..%2fsecret", "file:///srv/results/../../etc", "file://host/srv/results",
	} {
		o, err := jobspec.ParsePublish(to)
		if err != nil {
			continue // no job is taken that names it
		}
		if _, err = f.Store(courier.Who{Tenant: "bob"}, o); err == nil {
			t.Errorf("Store(%s) is permitted", to)
		}
	}
	refused("exec:other", tell("exec:other"), "does not permit")
	refused("a notify place for a result", store("bob", "https://example.org/hook"), "does not permit")
	// The word of another member counts only where it is meant to.
	shared, _ := jobspec.ParsePublish("file:///srv/results/x")
	_, err := f.Store(courier.Who{Tenant: "bob", Member: true}, shared)
	refused("a member's job", err, "jobs of other members")
	open, _ := jobspec.ParsePublish("file:///srv/shared/x")
	if _, err := f.Store(courier.Who{Tenant: "bob", Member: true}, open); err != nil {
		t.Errorf("Store(%s) of a member's job = %v", open, err)
	}
	refused("wrong endpoint", store("bob", "s3://broken"), "endpoint")
	refused("wrong secret", tell("https://example.org/hook"), "secret")
	refused("relative command", tell("exec:relative"), "absolute")
	if err := os.WriteFile(file, []byte("publish:\n- {url: s3://results, acces_key: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("unknown key", store("bob", "s3://results"), "acces_key")
}
