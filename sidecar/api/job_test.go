package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

const goodSpec = `{"version":"ipdc/v1","name":"one","run":{"image":"shell","command":["true"]}}`

const asJSON, asYAML = "Content-Type: application/json", "Content-Type: application/yaml"

func TestSubmit(t *testing.T) {
	e := start(t)
	r := e.ask("POST", "/v1/jobs", goodSpec, bearer(alice), asJSON)
	r.want(t, http.StatusCreated, "")
	var j wire.Job
	if err := json.Unmarshal(r.body, &j); err != nil {
		t.Fatal(err)
	}
	if j.Tenant != "alice" || j.Spec.Name != "one" || r.Header.Get("Location") != "/v1/jobs/"+j.ID.String() {
		t.Errorf("job = %+v, Location = %q", j, r.Header.Get("Location"))
	}
	e.ask("POST", "/v1/jobs", "version: ipdc/v1\nrun: {image: shell, command: [\"true\"]}\n", bearer(alice), asYAML).want(t, 201, "")
	if _, err := e.client().Job(t.Context(), j.ID.String()); err == nil {
		t.Error("the socket's tenant sees alice's job")
	}
}

func TestSubmitByClient(t *testing.T) {
	e := start(t)
	c := e.client()
	spec, err := jobspec.Parse([]byte(goodSpec))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []jobspec.Spec{spec, spec.WithDefaults()} {
		j, err := c.Submit(t.Context(), s, "")
		if err != nil {
			t.Fatalf("Submit(%+v): %v", s, err)
		}
		if diff := cmp.Diff(s.WithDefaults(), j.Spec.WithDefaults(), cmp.Comparer(sameCID)); diff != "" {
			t.Errorf("spec changed on its way (-sent +got):\n%s", diff)
		}
		if j.Tenant != "local" {
			t.Errorf("tenant = %q, want local", j.Tenant)
		}
	}
}

func sameCID(a, b jobspec.CID) bool { return a.String() == b.String() }

func TestH08MalformedSpecs(t *testing.T) {
	e := start(t)
	e.ask("POST", "/v1/jobs", goodSpec, bearer(alice), asJSON).want(t, 201, "") // control
	run := `"run":{"image":"shell","command":["true"]}`
	for name, c := range map[string]struct {
		body   string
		header string
		status int
		kind   string
	}{
		"empty":             {"", asJSON, 400, "E_SPEC"},
		"not JSON":          {"version: ipdc/v1", asJSON, 400, "E_SPEC"},
		"cut":               {goodSpec[:40], asJSON, 400, "E_SPEC"},
		"trailing data":     {goodSpec + goodSpec, asJSON, 400, "E_SPEC"},
		"NaN":               {`{"version":"ipdc/v1",` + run + `,"resources":{"cpu":NaN}}`, asJSON, 400, "E_SPEC"},
		"duplicate key":     {`{"version":"ipdc/v1","version":"ipdc/v1",` + run + `}`, asJSON, 409, "E_DUP_KEY"},
		"unknown key":       {`{"version":"ipdc/v1","nmae":"x",` + run + `}`, asJSON, 400, "E_SPEC"},
		"array":             {`[1]`, asJSON, 400, "E_SPEC"},
		"no type":           {goodSpec, "X-None: x", 415, "E_SPEC"},
		"form":              {goodSpec, "Content-Type: application/x-www-form-urlencoded", 415, "E_SPEC"},
		"text":              {goodSpec, "Content-Type: text/plain", 415, "E_SPEC"},
		"multipart":         {goodSpec, "Content-Type: multipart/form-data; boundary=x", 415, "E_SPEC"},
		"latin":             {goodSpec, "Content-Type: application/json; charset=latin1", 415, "E_SPEC"},
		"two YAML docs":     {"version: ipdc/v1\n---\nversion: ipdc/v1\n", asYAML, 400, "E_SPEC"},
		"YAML alias":        {"version: ipdc/v1\nlabels: &a {x: y}\nrun: {image: shell, env: *a, command: [x]}", asYAML, 400, "E_SPEC"},
		"larger than limit": {`{"version":"ipdc/v1",` + run + `}` + strings.Repeat(" ", 256<<10), asJSON, 413, "E_LIMIT_BYTES"},
	} {
		t.Run("H08 "+name, func(t *testing.T) {
			e := e.in(t)
			e.ask("POST", "/v1/jobs", c.body, bearer(alice), c.header).want(t, c.status, c.kind)
		})
	}
	if n := len(e.svc.jobs); n != 1 {
		t.Errorf("%d jobs were made, want that of the control", n)
	}
}

// slowSubmit takes longer than any body may stall.
type slowSubmit struct{ *service }

func (s slowSubmit) Submit(ctx context.Context, sub api.Submission) (wire.Job, bool, error) {
	select {
	case <-ctx.Done():
		return wire.Job{}, false, ctx.Err()
	case <-time.After(200 * time.Millisecond):
		return s.service.Submit(ctx, sub)
	}
}

func TestSlowSubmit(t *testing.T) {
	e := start(t, func(c *api.Config) {
		c.Service = slowSubmit{c.Service.(*service)}
		c.BodyStall = 20 * time.Millisecond
	})
	e.ask("POST", "/v1/jobs", goodSpec, bearer(alice), asJSON).want(t, 201, "")

	// Control: a body that does stall is cut.
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s\r\nContent-Length: 1000\r\n\r\n{", bearer(alice), asJSON)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status of a body that stalls = %d, want 408", resp.StatusCode)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	e := start(t)
	r := e.ask("POST", "/v1/jobs", `{"version":"ipdc/v9","run":{"image":"","command":[]},"retry":{"attempts":99}}`, bearer(alice), asJSON)
	r.want(t, 400, "E_SPEC")
	paths := map[string]bool{}
	for _, p := range r.problem.Errors {
		paths[p.Path] = p.Detail != ""
	}
	for _, want := range []string{"version", "retry.attempts"} {
		if !paths[want] {
			t.Errorf("problems %v lack %s", r.problem.Errors, want)
		}
	}
}

func TestH24S19IdempotencyKey(t *testing.T) {
	e := start(t)
	other := strings.Replace(goodSpec, "one", "two", 1)
	submit := func(secret, spec string) (reply, wire.Job) {
		r := e.ask("POST", "/v1/jobs", spec, bearer(secret), asJSON, "Idempotency-Key: k 1")
		var j wire.Job
		if err := json.Unmarshal(r.body, &j); err != nil {
			t.Fatal(err)
		}
		return r, j
	}
	r, first := submit(alice, goodSpec)
	r.want(t, 201, "")
	r, again := submit(alice, goodSpec)
	r.want(t, 200, "")
	if first.ID != again.ID {
		t.Errorf("same key gave job %s, then %s", first.ID, again.ID)
	}
	r, _ = submit(alice, other)
	r.want(t, 409, "E_DUP_KEY")
	r, bobs := submit(bob, other)
	r.want(t, 201, "")
	if bobs.ID == first.ID || bobs.Tenant != "bob" {
		t.Errorf("H24: bob got %s of %s with alice's key", bobs.ID, bobs.Tenant)
	}
}

func TestH02OtherTenant(t *testing.T) {
	e := start(t)
	id := e.svc.add("alice", "mine").String()
	e.svc.print(jobspec.JobID(id), jobspec.LogStdout, 0, "hers")
	for _, c := range []struct{ method, path string }{
		{"GET", "/v1/jobs/" + id}, {"GET", "/v1/jobs/mine"}, {"GET", "/v1/jobs/@last"},
		{"POST", "/v1/jobs/" + id + "/stop"}, {"DELETE", "/v1/jobs/" + id},
		{"GET", "/v1/jobs/" + id + "/events"}, {"GET", "/v1/jobs/" + id + "/logs?format=text"},
	} {
		t.Run("H02 "+c.method+" "+c.path, func(t *testing.T) {
			e := e.in(t)
			missing := e.ask(c.method, strings.Replace(c.path, id, "01jc0000000000000000000000", 1), "", bearer(bob))
			theirs := e.ask(c.method, c.path, "", bearer(bob))
			theirs.want(t, 404, "E_NOT_FOUND")
			if diff := cmp.Diff(string(missing.body), string(theirs.body)); diff != "" {
				t.Errorf("another's job and no job differ (-none +another's):\n%s", diff)
			}
			e.askSocket(c.method, c.path, "").want(t, 404, "E_NOT_FOUND")
		})
	}
	list := e.ask("GET", "/v1/jobs", "", bearer(bob))
	if string(list.body) != "{\"jobs\":[]}\n" {
		t.Errorf("bob's list = %s", list.body)
	}
	// Controls: their owner may do all of it.
	e.ask("GET", "/v1/jobs/"+id+"/logs?format=text", "", bearer(alice)).want(t, 200, "")
	e.ask("DELETE", "/v1/jobs/"+id, "", bearer(alice)).want(t, 409, "E_CONFLICT")
	e.ask("POST", "/v1/jobs/"+id+"/stop", "", bearer(alice)).want(t, 200, "")
	e.ask("DELETE", "/v1/jobs/"+id, "", bearer(alice)).want(t, 204, "")
}

func TestH18ListParameters(t *testing.T) {
	e := start(t)
	for query, want := range map[string]int{
		"": 100, "?limit=7": 7, "?limit=500": 500, "?limit=501": 500, "?limit=1000000000": 500,
		"?limit=18446744073709551615": 500,
	} {
		e.ask("GET", "/v1/jobs"+query, "", bearer(alice)).want(t, 200, "")
		if e.svc.filter.Limit != want {
			t.Errorf("H18: limit of %q = %d, want %d", query, e.svc.filter.Limit, want)
		}
	}
	for _, query := range []string{
		"?limit=0", "?limit=-1", "?limit=1e9", "?limit=99999999999999999999", "?limit=1;drop", "?state=runing",
		"?state=" + strings.ReplaceAll("x' OR '1'='1", " ", "%20"), "?label=novalue", "?label==v", "?dataset=Logs", "?dataset=logs@0", "?dataset=x'", "?offset=3", "?limit=%zz",
	} {
		e.ask("GET", "/v1/jobs"+query, "", bearer(alice)).want(t, 400, "E_SPEC")
	}
	_, err := e.client().Jobs(t.Context(), client.JobFilter{
		States: []jobspec.JobState{jobspec.JobRunning, jobspec.JobFailed},
		Labels: map[string]string{"a": "b=c", "q": "x' OR '1'='1"}, Dataset: jobspec.DatasetRef{Name: "logs", Version: 3}, All: true, Limit: 9,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(e.svc.filter)
	if want := "{[running failed] map[a:b=c q:x' OR '1'='1] logs@3 true 9}"; got != want {
		t.Errorf("filter = %s, want %s", got, want)
	}
}

func TestJobCalls(t *testing.T) {
	e := start(t)
	c, ctx := e.client(), t.Context()
	id := e.svc.add("local", "näm e").String()
	if j, err := c.Job(ctx, "näm e"); err != nil || j.ID.String() != id {
		t.Errorf("Job by name = %v, %v", j.ID, err)
	}
	if err := c.Remove(ctx, id); !isKind(err, jobspec.KindConflict) {
		t.Errorf("Remove of a running job = %v, want E_CONFLICT", err)
	}
	if j, err := c.Stop(ctx, id); err != nil || j.State != jobspec.JobStopped {
		t.Errorf("Stop = %v, %v", j.State, err)
	}
	if j, err := c.Wait(ctx, id); err != nil || j.State != jobspec.JobStopped {
		t.Errorf("Wait = %v, %v", j.State, err)
	}
	if jobs, err := c.Jobs(ctx, client.JobFilter{}); err != nil || len(jobs) != 1 {
		t.Errorf("Jobs = %v, %v", jobs, err)
	}
	if err := c.Remove(ctx, id); err != nil {
		t.Errorf("Remove = %v", err)
	}
	if _, err := c.Job(ctx, id); !isKind(err, jobspec.KindNotFound) {
		t.Errorf("Job after Remove = %v, want E_NOT_FOUND", err)
	}
}
