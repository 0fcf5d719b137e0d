package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

func TestPrune(t *testing.T) {
	e := start(t)
	done, live := e.svc.add("local", "done"), e.svc.add("local", "live")
	e.svc.add("alice", "hers")
	e.svc.end(done)
	wish := wire.PruneWish{
		States: []jobspec.JobState{jobspec.JobSucceeded}, Labels: map[string]string{"a": "b"},
		OlderThan: jobspec.Duration(48 * time.Hour), DryRun: true,
	}
	p, err := e.client().Prune(t.Context(), wish)
	if err != nil || len(p.Jobs) != 1 || p.Jobs[0].ID != done {
		t.Errorf("Prune = %+v, %v, want %s", p, err, done)
	}
	want := api.PruneFilter{States: wish.States, Labels: wish.Labels, OlderThan: 48 * time.Hour, DryRun: true}
	if diff := cmp.Diff(want, e.svc.pruned); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
	if p, err := e.client().Prune(t.Context(), wire.PruneWish{}); err != nil || len(p.Jobs) != 1 {
		t.Errorf("Prune = %+v, %v", p, err)
	}
	if p, err := e.client().Prune(t.Context(), wire.PruneWish{}); err != nil || p.Jobs == nil || len(p.Jobs) != 0 {
		t.Errorf("second Prune = %+v, %v, want an empty list", p, err)
	}
	if _, err := e.client().Job(t.Context(), live.String()); err != nil {
		t.Errorf("the live job is gone: %v", err)
	}
	e.askSocket("POST", "/v1/jobs/prune", `{"states":["running"]}`, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("POST", "/v1/jobs/prune", `{"older_than":"long"}`, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("POST", "/v1/jobs/prune", `{`, asJSON).want(t, 400, "E_SPEC")
}

// Only the list of jobs takes everybody's: elsewhere no tenant has that name,
// and nothing would be found or removed.
func TestAllTenantsAreForTheListOnly(t *testing.T) {
	e := start(t)
	e.svc.end(e.svc.add("alice", "hers"))
	e.askSocket("POST", "/v1/jobs/prune?tenant=*", `{}`, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("GET", "/v1/jobs/hers?tenant=*", "").want(t, 400, "E_SPEC")
	e.askSocket("POST", "/v1/jobs?tenant=*", goodSpec, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("GET", "/v1/jobs?tenant=*", "").want(t, 200, "") // controls
	e.askSocket("POST", "/v1/jobs/prune?tenant=alice", `{}`, asJSON).want(t, 200, "")
}

func TestPlan(t *testing.T) {
	e := start(t)
	spec, err := jobspec.Parse([]byte(goodSpec))
	if err != nil {
		t.Fatal(err)
	}
	want, err := spec.CID()
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.client().Plan(t.Context(), spec)
	if err != nil || p.SpecCID != want || p.Reasons[0] != "planned for local" {
		t.Errorf("Plan = %+v, %v, want %s", p, err, want)
	}
	e.ask("POST", "/v1/jobs/plan", goodSpec, bearer(alice), asJSON).want(t, 200, "")
	e.askSocket("POST", "/v1/jobs/plan", "version: ipdc/v1\nrun: {image: shell, command: [\"true\"]}\n", asYAML).want(t, 200, "")
	e.askSocket("POST", "/v1/jobs/plan", `{"version":"ipdc/v1"}`, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("POST", "/v1/jobs/plan", goodSpec).want(t, 415, "E_SPEC")
	if n, err := e.client().Node(t.Context()); err != nil || n.Jobs != 0 {
		t.Errorf("plans made %d jobs, %v", n.Jobs, err)
	}
}
