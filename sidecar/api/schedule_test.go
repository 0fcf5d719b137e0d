package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

var _ api.Schedules = schedules{}

// schedules are Schedules in memory by tenant and name.
type schedules map[string]wire.Schedule

func (s schedules) find(tenant, ref string) (wire.Schedule, error) {
	if got, ok := s[tenant+"/"+ref]; ok {
		return got, nil
	}
	return wire.Schedule{}, jobspec.KindNotFound.Errorf("there is no schedule %q", ref)
}

func (s schedules) AddSchedule(_ context.Context, tenant string, r wire.ScheduleRequest) (w wire.Schedule, created bool, err error) {
	if old, ok := s[tenant+"/"+r.Name]; ok {
		return old, false, nil
	}
	w.ID, w.Name, w.Tenant, w.Cron, w.Spec = "01kc0000000000000000000000", r.Name, tenant, r.Cron, r.Spec
	s[tenant+"/"+r.Name] = w
	return w, true, nil
}

func (s schedules) Schedules(_ context.Context, tenant string) (list []wire.Schedule, _ error) {
	for _, w := range s {
		if w.Tenant == tenant {
			list = append(list, w)
		}
	}
	return list, nil
}

func (s schedules) Schedule(_ context.Context, tenant, ref string) (wire.Schedule, error) {
	return s.find(tenant, ref)
}

func (s schedules) PauseSchedule(_ context.Context, tenant, ref string, paused bool) (wire.Schedule, error) {
	w, err := s.find(tenant, ref)
	w.Paused = paused
	return w, err
}

func (s schedules) RunSchedule(_ context.Context, tenant, ref string) (jobspec.Instant, error) {
	_, err := s.find(tenant, ref)
	return jobspec.Instant{Kind: jobspec.InstantManual}, err
}

func (s schedules) RemoveSchedule(_ context.Context, tenant, ref string) error {
	_, err := s.find(tenant, ref)
	delete(s, tenant+"/"+ref)
	return err
}

func (s schedules) NextInstants(_ context.Context, tenant, ref string, n int) (wire.NextInstants, error) {
	_, err := s.find(tenant, ref)
	return wire.NextInstants{Zone: fmt.Sprint(n)}, err
}

func (s schedules) History(_ context.Context, tenant, ref string, limit, skip int) ([]jobspec.Instant, error) {
	_, err := s.find(tenant, ref)
	return []jobspec.Instant{{Slot: int64(limit), Count: skip}}, err
}

func TestSchedules(t *testing.T) {
	e := start(t, func(c *api.Config) { c.Schedules = schedules{} })
	spec, err := jobspec.Parse([]byte(goodSpec))
	if err != nil {
		t.Fatal(err)
	}
	c := e.client()
	s, err := c.AddSchedule(t.Context(), wire.ScheduleRequest{Name: "nightly", Cron: "@daily", Spec: spec})
	if err != nil || s.Name != "nightly" || s.Tenant != api.TenantLocal {
		t.Fatalf("AddSchedule = %+v, %v", s, err)
	}
	if list, err := c.Schedules(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("Schedules = %v, %v", list, err)
	}
	if p, err := c.PauseSchedule(t.Context(), "nightly"); err != nil || !p.Paused {
		t.Errorf("PauseSchedule = %+v, %v", p, err)
	}
	if h, err := c.History(t.Context(), "nightly", 7, 3); err != nil || h[0].Slot != 7 || h[0].Count != 3 {
		t.Errorf("History = %+v, %v", h, err)
	}
	if next, err := c.NextInstants(t.Context(), "nightly", 9); err != nil || next.Zone != "9" {
		t.Errorf("NextInstants = %+v, %v", next, err)
	}
	body := fmt.Sprintf(`{"name":"nightly","cron":"@daily","spec":%s}`, goodSpec)
	e.askSocket("POST", "/v1/schedules", body, asJSON).want(t, 200, "") // the same again
	e.ask("POST", "/v1/schedules", body, bearer(alice), asJSON).want(t, 201, "")
	e.askSocket("POST", "/v1/schedules", `{"name":"x","cron":"@daily"}`, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("POST", "/v1/schedules", `{"name":"x","crom":"@daily","spec":{}}`, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("POST", "/v1/schedules", `{"name":"x","cron":"@daily","spec":{"version":"ipdc/v1","rum":{}}}`, asJSON).want(t, 400, "E_SPEC")
	e.askSocket("GET", "/v1/schedules/nightly/next?n=0", "").want(t, 400, "E_SPEC")
	e.askSocket("GET", "/v1/schedules/nightly/history?limit=2000", "").want(t, 400, "E_SPEC")
	for _, ask := range [][2]string{
		{"GET", ""}, {"GET", "/next"}, {"GET", "/history"}, {"POST", "/pause"}, {"POST", "/resume"}, {"POST", "/run"}, {"DELETE", ""},
	} { // of another tenant, and the control: its own
		e.ask(ask[0], "/v1/schedules/nightly"+ask[1], "", bearer(bob)).want(t, 404, "E_NOT_FOUND")
		e.ask(ask[0], "/v1/schedules/nightly"+ask[1]+"?tenant=alice", "", bearer(bob)).want(t, 403, "E_POLICY")
	}
	e.ask("GET", "/v1/schedules/nightly", "", bearer(alice)).want(t, 200, "")
	e.askSocket("GET", "/v1/schedules/nightly?tenant=alice", "").want(t, 200, "")
	forAlice := e.client(client.WithTenant("alice"))
	if s, err := forAlice.Schedule(t.Context(), "nightly"); err != nil || s.Tenant != "alice" {
		t.Errorf("Schedule with tenant alice = %+v, %v", s, err)
	}
	if l, err := forAlice.Schedules(t.Context()); err != nil || len(l) != 1 || l[0].Tenant != "alice" {
		t.Errorf("Schedules with tenant alice = %+v, %v", l, err)
	}
	if _, err := c.History(t.Context(), "nightly", 7, -1); err == nil || !strings.Contains(err.Error(), "from 0 to 2147483647") {
		t.Errorf("History that skips -1 = %v, want the bounds", err)
	}
	if _, err := c.Schedule(t.Context(), "..x/"); err == nil || !strings.Contains(err.Error(), "no schedule has this") {
		t.Errorf("Schedule(..x/) = %v, want that there is no such schedule", err)
	}
	if err := c.RemoveSchedule(t.Context(), "nightly"); err != nil {
		t.Errorf("RemoveSchedule = %v", err)
	}
	e.askSocket("GET", "/v1/schedules/nightly", "").want(t, 404, "E_NOT_FOUND")
	if _, err := start(t).client().AddSchedule(t.Context(), wire.ScheduleRequest{Name: "x", Spec: spec}); err == nil {
		t.Error("a node without schedules takes one")
	}
}
