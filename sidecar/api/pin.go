package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// UserPin is the name of a pin that a user of the tenant made. Pins of the
// node's own user name no tenant.
func UserPin(tenant string, c jobspec.CID) string {
	if tenant == TenantLocal {
		return "user/" + c.String()
	}
	return "user/" + tenant + "/" + c.String()
}

// pinTenant returns whose a pin "user/..." is.
func pinTenant(name string) string {
	tenant, _, ok := strings.Cut(strings.TrimPrefix(name, "user/"), "/")
	if !ok {
		return TenantLocal
	}
	return tenant
}

type (
	pinsInput struct {
		All string `query:"all" doc:"Also what jobs keep pinned"`
	}
	unpinInput struct {
		CID string `path:"cid" example:"bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354" doc:"What is pinned"`
	}
)

func (a *API) registerPins(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "pins", Method: http.MethodGet, Path: "/v1/pins", Summary: "List pins",
	}, a.pins)
	register(a, h, takesJSON(a, h, wire.PinWish{Path: exampleCID + "/photos"}, huma.Operation{
		OperationID: "pin", Method: http.MethodPost, Path: "/v1/pins", Summary: "Keep the DAG below a path, and the directories on the path",
	}), a.pin)
	register(a, h, huma.Operation{
		OperationID: "unpin", Method: http.MethodDelete, Path: "/v1/pins/{cid}", Summary: "Remove a user's pin",
	}, a.unpin)
}

func (a *API) pins(ctx context.Context, in *pinsInput) (*answer[wire.PinList], error) {
	prefix := "user/"
	switch in.All {
	case "", "false":
	case "true":
		prefix = ""
	default:
		return nil, badQuery("all", "true or false")
	}
	list, err := a.cfg.IPFS.Pins(ctx, prefix)
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		ways, err := a.cfg.IPFS.Pins(ctx, "way/")
		if err != nil {
			return nil, err
		}
		list = append(list, ways...)
	}
	if list, err = a.visiblePins(ctx, list); err != nil {
		return nil, err
	}
	out := append([]wire.Pin{}, withWays(list)...)
	for i, p := range out {
		out[i].Attached = a.cfg.Attachments.Has(p.CID)
	}
	if err := a.withReplicas(ctx, out); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(x, y wire.Pin) int {
		return cmp.Or(y.Created.Compare(x.Created), cmp.Compare(x.CID.String(), y.CID.String()))
	})
	return &answer[wire.PinList]{wire.PinList{Pins: out}}, nil
}

// visiblePins leaves out the pins of other tenants and of their jobs, unless
// the node's own user asks.
func (a *API) visiblePins(ctx context.Context, list []ipfs.Pin) ([]ipfs.Pin, error) {
	if callerOf(ctx).socket {
		return list, nil
	}
	var failed error
	own := map[jobspec.JobID]bool{}
	list = slices.DeleteFunc(list, func(p ipfs.Pin) bool {
		if failed != nil {
			return false
		}
		if strings.HasPrefix(p.Name, "user/") {
			return pinTenant(p.Name) != tenantOf(ctx)
		}
		if way, ok := strings.CutPrefix(p.Name, "way/"); ok {
			return !strings.HasPrefix(way, tenantOf(ctx)+"/")
		}
		id := wirePin(p).Job
		mine, known := own[id]
		if !known && id != "" {
			_, err := a.cfg.Service.Job(ctx, tenantOf(ctx), id.String())
			if err != nil && !errors.Is(err, jobspec.KindNotFound.Error()) {
				failed = err
			}
			mine = err == nil
			own[id] = mine
		}
		return !mine
	})
	return list, failed
}

// wirePin reads a pin's name: that of [UserPin], "job/<id>/<what for>", or of a kind
// that has only a first word.
func wirePin(p ipfs.Pin) wire.Pin {
	kind, rest, _ := strings.Cut(p.Name, "/")
	out := wire.Pin{CID: p.Root, Kind: kind, Created: p.Created}
	if kind == "job" {
		id, what, _ := strings.Cut(rest, "/")
		out.Job = jobspec.JobID(id)
		out.Kind, _, _ = strings.Cut(what, "/")
	}
	return out
}

func (a *API) pin(ctx context.Context, in *jsonInput) (*answer[wire.Pin], error) {
	w, err := decode[wire.PinWish](in)
	if err != nil {
		return nil, err
	}
	path, err := jobspec.ParsePath(w.Path)
	if err != nil {
		return nil, err
	}
	c, way, err := tree.Way(ctx, a.cfg.IPFS, path.Root, path.Segments, a.cfg.Budget)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.IPFS.Pin(ctx, UserPin(tenantOf(ctx), c), c); err != nil {
		return nil, err
	}
	if err := a.keepWay(ctx, c, path, way); err != nil {
		return nil, err
	}
	p, err := a.userPinOf(ctx, c)
	if err != nil {
		return nil, err
	}
	out := wirePin(p)
	out.Attached = a.cfg.Attachments.Has(c)
	if len(way) > 0 {
		out.Paths = []string{path.String()}
	}
	if w.Replicate != 0 {
		r, err := a.cfg.Service.Replicate(ctx, p.Name, c, w.Replicate)
		if err != nil {
			return nil, err
		}
		out.Replicas = &r
	}
	return &answer[wire.Pin]{out}, nil
}

// withReplicas adds who holds what is pinned.
func (a *API) withReplicas(ctx context.Context, list []wire.Pin) error {
	held, err := a.cfg.Service.Replicas(ctx)
	byRoot := map[string]wire.Replicas{}
	for name, r := range held {
		if strings.HasPrefix(name, "user/") {
			byRoot[name[strings.LastIndex(name, "/")+1:]] = r
		}
	}
	for i, p := range list {
		r, ok := byRoot[p.CID.String()]
		if p.Kind != wire.PinUser {
			r, ok = held["job/"+p.Job.String()+"/"+p.Kind]
		}
		if ok {
			list[i].Replicas = &r
		}
	}
	return err
}

func (a *API) unpin(ctx context.Context, in *unpinInput) (*nothing, error) {
	c, err := jobspec.ParseCID(in.CID)
	if err != nil {
		return nil, err
	}
	if _, err := a.userPinOf(ctx, c); err != nil {
		return nil, err
	}
	if err := a.dropWays(ctx, c); err != nil { // first, so that it can be asked for again
		return nil, err
	}
	return nil, a.cfg.IPFS.Unpin(ctx, UserPin(tenantOf(ctx), c))
}

// userPinOf returns a user's pin, or says what keeps the CID in its place.
func (a *API) userPinOf(ctx context.Context, c jobspec.CID) (ipfs.Pin, error) {
	list, err := a.cfg.IPFS.Pins(ctx, UserPin(tenantOf(ctx), c))
	if err != nil {
		return ipfs.Pin{}, err
	}
	if len(list) > 0 && list[0].Root == c {
		return list[0], nil
	}
	f := jobspec.Failure{Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("%s is not pinned", c), Hint: "ipdc pin ls shows the pins"}
	all, err := a.cfg.IPFS.Pins(ctx, "job/")
	if err != nil {
		return ipfs.Pin{}, err
	}
	if all, err = a.visiblePins(ctx, slices.DeleteFunc(all, func(p ipfs.Pin) bool { return p.Root != c })); err != nil {
		return ipfs.Pin{}, err
	}
	if len(all) > 0 {
		p := wirePin(all[0])
		f.Detail = fmt.Sprintf("%s is not pinned by a user; it is the %s of job %s", c, p.Kind, p.Job)
		f.Hint = "ipdc job rm " + p.Job.String() + " removes the job with its pins"
	}
	return ipfs.Pin{}, f.Error()
}
