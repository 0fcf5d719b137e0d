package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

func TestTokens(t *testing.T) {
	e := start(t)
	r := e.askSocket("POST", "/v1/tokens", `{"name":"ci"}`, asJSON)
	r.want(t, 201, "")
	var made wire.NewToken
	if err := json.Unmarshal(r.body, &made); err != nil || made.Name != "ci" || len(made.Secret) < 26 || r.Header.Get("Location") != "/v1/tokens/ci" {
		t.Fatalf("new token %s at %q: %v", r.body, r.Header.Get("Location"), err)
	}
	e.ask("GET", "/v1/jobs", "", bearer(made.Secret)).want(t, 200, "")
	list := e.askSocket("GET", "/v1/tokens", "")
	list.want(t, 200, "")
	if got := string(list.body); !strings.Contains(got, `"name":"ci"`) || strings.Contains(got, made.Secret) {
		t.Errorf("list = %s, want ci and no secret", got)
	}
	if strings.Contains(e.log.String(), made.Secret) {
		t.Error("the log holds a secret")
	}
	e.askSocket("POST", "/v1/tokens", `{"name":"ci"}`, asJSON).want(t, 409, "E_CONFLICT")
	e.ask("DELETE", "/v1/tokens/ci", "", bearer(admin)).want(t, 204, "")
	e.ask("GET", "/v1/jobs", "", bearer(made.Secret)).want(t, 401, "E_POLICY")
	e.askSocket("DELETE", "/v1/tokens/ci", "").want(t, 404, "E_NOT_FOUND")
	e.askSocket("DELETE", "/v1/tokens/local", "").want(t, 403, "E_POLICY")
	e.askSocket("DELETE", "/v1/tokens/%2e%2e", "").want(t, 404, "E_NOT_FOUND")
	for _, body := range []string{``, `{}`, `[]`, `{"name":"*"}`, `{"name":"Ci"}`, `{"name":"a/b"}`, `{"name":"-a"}`, `{"name":"` + strings.Repeat("a", 64) + `"}`} {
		e.askSocket("POST", "/v1/tokens", body, asJSON).want(t, 400, "E_SPEC")
	}
	e.askSocket("POST", "/v1/tokens", `{"name":"form"}`, "Content-Type: text/plain").want(t, 415, "E_SPEC")
}

func TestTokensAreForTheNodesUser(t *testing.T) {
	e := start(t)
	for _, c := range [][2]string{{"GET", "/v1/tokens"}, {"POST", "/v1/tokens"}, {"DELETE", "/v1/tokens/bob"}} {
		e.ask(c[0], c[1], `{"name":"x"}`, asJSON, bearer(alice)).want(t, 403, "E_POLICY")
	}
	e.ask("GET", "/v1/tokens", "", bearer(admin)).want(t, 200, "") // control
	e.ask("GET", "/v1/jobs", "", bearer(bob)).want(t, 200, "")     // control: nothing was revoked
}

// A stream that is open when its token is revoked is cut.
func TestRevokeCutsStreams(t *testing.T) {
	e := start(t)
	e.svc.add("alice", "j")
	_, stream := follow(t, e, "/v1/jobs/j/events?follow=true")
	e.askSocket("DELETE", "/v1/tokens/alice", "").want(t, 204, "")
	got := string(readAll(stream)) // ends, as the job does not
	if strings.Contains(got, "event: end") {
		t.Errorf("a cut stream looks finished: %s", got)
	}
	// Control: without a revocation the same stream goes on to the job's end.
	id := e.svc.add("local", "k")
	e.svc.emit(id, "half")
	e.svc.end(id)
	r := e.ask("GET", "/v1/jobs/k/events?follow=true", "", bearer(admin))
	if !strings.Contains(string(r.body), "event: end") {
		t.Errorf("control: %s", r.body)
	}
}

func TestTenants(t *testing.T) {
	e := start(t)
	id := e.svc.add("alice", "hers")
	e.svc.add("bob", "his")
	ref := "/v1/jobs/" + id.String()
	for _, path := range []string{ref, ref + "/events", ref + "/logs", "/v1/jobs/hers"} {
		e.ask("GET", path, "", bearer(alice)).want(t, 200, "") // control
		e.ask("GET", path, "", bearer(bob)).want(t, 404, "E_NOT_FOUND")
		e.ask("GET", path+"?tenant=alice", "", bearer(bob)).want(t, 403, "E_POLICY")
		e.ask("GET", path+"?tenant=alice", "", bearer(alice)).want(t, 200, "")
		e.ask("GET", path, "", bearer(admin)).want(t, 404, "E_NOT_FOUND") // not unasked
		e.ask("GET", path+"?tenant=alice", "", bearer(admin)).want(t, 200, "")
		e.askSocket("GET", path+"?tenant=alice", "").want(t, 200, "")
		e.askSocket("GET", path+"?tenant=../x", "").want(t, 400, "E_SPEC")
	}
	for query, want := range map[string]string{"": "", "?tenant=alice": "hers", "?tenant=*": "his hers"} {
		r := e.ask("GET", "/v1/jobs"+query, "", bearer(admin))
		var list wire.JobList
		if err := json.Unmarshal(r.body, &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, j := range list.Jobs {
			names = append(names, j.Spec.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("jobs%s = %q, want %q", query, got, want)
		}
	}
	const member = "12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD"
	for query, status := range map[string]int{
		"?tenant=member:" + member: 200, "?tenant=node:" + member: 200, "?tenant=node:x": 400, "?tenant=nobody:" + member: 400,
	} {
		kind := ""
		if status != 200 {
			kind = "E_SPEC"
		}
		e.askSocket("GET", "/v1/jobs"+query, "").want(t, status, kind)
		e.askSocket("POST", "/v1/jobs/prune"+query, "{}", asJSON).want(t, status, kind)
		e.ask("POST", "/v1/jobs/prune"+query, "{}", asJSON, bearer(bob)).want(t, 403, "E_POLICY")
	}
	for _, q := range []string{"?tenant=*", "?tenant=alice"} {
		e.ask("GET", "/v1/jobs"+q, "", bearer(bob)).want(t, 403, "E_POLICY")
	}
	e.ask("POST", ref+"/stop?tenant=alice", "", bearer(bob)).want(t, 403, "E_POLICY")
	e.ask("DELETE", ref+"?tenant=alice", "", bearer(bob)).want(t, 403, "E_POLICY")
	e.ask("POST", ref+"/stop?tenant=alice", "", bearer(admin)).want(t, 200, "")
}

// One key is two keys for two tenants.
func TestIdempotencyKeyPerTenant(t *testing.T) {
	e := start(t)
	submit := func(token string) wire.Job {
		t.Helper()
		r := e.ask("POST", "/v1/jobs", goodSpec, asJSON, "Idempotency-Key: nightly", bearer(token))
		var j wire.Job
		if err := json.Unmarshal(r.body, &j); err != nil || r.StatusCode >= 300 {
			t.Fatalf("submit: %d %s", r.StatusCode, r.body)
		}
		return j
	}
	hers, his := submit(alice), submit(bob)
	if hers.ID == his.ID {
		t.Errorf("the key of one tenant gave another the job %s", hers.ID)
	}
	if again := submit(alice); again.ID != hers.ID {
		t.Errorf("the same key gave %s, want %s", again.ID, hers.ID)
	}
}

func TestH22RateLimit(t *testing.T) {
	refusal.Produces(t, jobspec.KindLimit)
	e := start(t, func(c *api.Config) { c.Rate = 0.001 }) // one now, the next in 1,000 s
	e.ask("GET", "/v1/node", "", bearer(alice)).want(t, 200, "")
	r := e.ask("GET", "/v1/node", "", bearer(alice))
	r.want(t, http.StatusTooManyRequests, "E_LIMIT")
	if after, err := time.ParseDuration(r.Header.Get("Retry-After") + "s"); err != nil || after < 900*time.Second || after > 1000*time.Second {
		t.Errorf("Retry-After = %q, want up to 1000", r.Header.Get("Retry-After"))
	}
	if !strings.Contains(r.problem.Detail, "0.001") || !strings.Contains(r.problem.Hint, "api-rate") {
		t.Errorf("problem %s names neither the rate nor the setting", r.body)
	}
	e.ask("GET", "/v1/node", "", bearer(bob)).want(t, 200, "") // each has a limit of his own
	for range 5 {
		e.askSocket("GET", "/v1/node", "").want(t, 200, "") // and the socket none
		e.ask("GET", "/healthz", "").want(t, 200, "")
	}
	// Control: at the usual rate nobody is refused.
	e = start(t)
	for range 150 {
		e.ask("GET", "/v1/node", "", bearer(alice)).want(t, 200, "")
	}
}

func TestMetrics(t *testing.T) {
	e := start(t)
	e.ask("GET", "/metrics", "").want(t, 401, "E_POLICY")
	e.ask("GET", "/v1/jobs/secret-name", "", bearer(alice)).want(t, 404, "E_NOT_FOUND")
	e.ask("GET", "/what/ever", "", bearer(alice)).want(t, 404, "E_NOT_FOUND")
	r := e.ask("GET", "/metrics", "", bearer(alice))
	r.want(t, 200, "")
	for _, line := range []string{
		`ipdc_api_requests_total{code="404",route="GET /v1/jobs/{ref}"} 1`,
		`ipdc_api_requests_total{code="404",route="none"} 1`,
		`ipdc_api_requests_total{code="401",route="none"} 1`,
	} {
		if !strings.Contains(string(r.body), line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
	if strings.Contains(string(r.body), "secret-name") {
		t.Error("a label holds what a client sent")
	}
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type = %q", ct)
	}
}
