package api_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// attached notes what it was asked for.
type attached struct {
	mu    sync.Mutex
	asked []string
}

func (a *attached) note(what string) (wire.Attached, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, what)
	return wire.Attached{}, nil
}

func (a *attached) Attach(_ context.Context, path, label string) (wire.Attached, error) {
	return a.note("attach " + path + " " + label)
}
func (a *attached) Verify(_ context.Context, ref string) (wire.Attached, error) {
	return a.note("verify " + ref)
}
func (a *attached) Detach(_ context.Context, ref string) (wire.Attached, error) {
	return a.note("detach " + ref)
}
func (a *attached) List() []wire.AttachedFile { return []wire.AttachedFile{{Path: "/data/a.car"}} }
func (a *attached) Has(jobspec.CID) bool      { return false }

// Files of the machine are the node's own user's: tenants neither name nor see
// them.
func TestAttachIsForTheNodesUser(t *testing.T) {
	a := &attached{}
	e := start(t, func(c *api.Config) { c.Attachments = a })
	calls := [][3]string{
		{"POST", "/v1/data", `{"path":"/etc/x.car","label":"l"}`},
		{"POST", "/v1/data/verify", `{"ref":"/etc"}`},
		{"POST", "/v1/data/detach", `{"ref":"/etc/x.car"}`},
		{"GET", "/v1/data", ""},
	}
	for _, c := range calls {
		r := e.ask(c[0], c[1], c[2], asJSON, bearer(alice))
		r.want(t, 403, "E_POLICY")
		if strings.Contains(string(r.body), "a.car") {
			t.Errorf("%s %s shows a tenant %s", c[0], c[1], r.body)
		}
		e.ask(c[0], c[1], c[2], asJSON).want(t, 401, "E_POLICY")
	}
	if len(a.asked) > 0 {
		t.Fatalf("a tenant's wish was done: %q", a.asked)
	}
	for _, c := range calls { // control
		e.ask(c[0], c[1], c[2], asJSON, bearer(admin)).want(t, 200, "")
		e.askSocket(c[0], c[1], c[2], asJSON).want(t, 200, "")
	}
	if want := []string{"attach /etc/x.car l", "attach /etc/x.car l", "verify /etc", "verify /etc", "detach /etc/x.car", "detach /etc/x.car"}; !slices.Equal(a.asked, want) {
		t.Errorf("done was %q, want %q", a.asked, want)
	}
	none := start(t)
	none.askSocket("POST", "/v1/data", `{"path":"/x.car"}`, asJSON).want(t, 403, "E_POLICY")
}
