package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ipdc/ipdc/jobspec"
)

// The document's schema of a spec is the one that specs are checked by.
func TestOpenAPISpecSchema(t *testing.T) {
	e := start(t)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(e.ask("GET", "/openapi.json", "", bearer(alice)).body)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("openapi.json#/components/schemas/Spec")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(jobspec.Spec{Run: jobspec.Run{Image: "shell", Command: []string{"true"}}}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{
		string(b): true,
		`{"version":"ipdc/v1","run":{"image":"shell","command":["true"]}}`:             true,
		`{"version":"ipdc/v1","run":{"image":"shell","comand":["true"]}}`:              false,
		`{"version":"ipdc/v2","run":{"image":"shell","command":["true"]}}`:             false,
		`{"version":"ipdc/v1","run":{"image":"shell","command":["true"]},"merge":"x"}`: false,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); (err == nil) != ok {
			t.Errorf("Validate(%s) = %v, want ok %v", text, err, ok)
		}
	}
}

// The document says what is in a body of JSON, not that it is bytes.
func TestOpenAPIBodies(t *testing.T) {
	var doc openAPI
	if err := json.Unmarshal(start(t).ask("GET", "/openapi.json", "", bearer(alice)).body, &doc); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{"/v1/jobs": "Spec", "/v1/jobs/plan": "Spec", "/v1/jobs/prune": "PruneWish", "/v1/pins": "PinWish", "/v1/tokens": "TokenRequest"} {
		if got := doc.Paths[p]["post"].RequestBody.Content["application/json"].Schema.Ref; got != "#/components/schemas/"+want {
			t.Errorf("body of POST %s is %q, want %s", p, got, want)
		}
	}
}

// A body of null is no wish: for prune it would be one for everything.
func TestNullBody(t *testing.T) {
	e := start(t)
	id := e.svc.add("local", "j")
	e.svc.end(id)
	for _, path := range []string{"/v1/jobs/prune", "/v1/pins", "/v1/tokens"} {
		for _, body := range []string{"null", "", "[]", `"x"`} {
			e.askSocket("POST", path, body, asJSON).want(t, 400, "E_SPEC")
		}
	}
	for path, body := range map[string]string{
		"/v1/jobs/prune": `{"labels":null}`, "/v1/pins": `{"path":null}`, "/v1/tokens": `{"name":null}`,
	} {
		e.askSocket("POST", path, body, asJSON).want(t, 400, "E_SPEC")
	}
	e.askSocket("GET", "/v1/jobs/j", "").want(t, 200, "") // it is still there
}

func TestAllow(t *testing.T) {
	e := start(t)
	for path, want := range map[string]string{
		"/v1/jobs": "GET, POST", "/v1/jobs/prune": "POST", "/v1/jobs/x": "DELETE, GET", "/v1/node": "GET",
	} {
		r := e.ask("PATCH", path, "", bearer(alice))
		r.want(t, 405, "E_POLICY")
		if got := r.Header.Get("Allow"); got != want {
			t.Errorf("Allow of %s = %q, want %q", path, got, want)
		}
	}
}
