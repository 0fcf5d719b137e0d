package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

type nothing struct{}

type answer[T any] struct{ Body T }

func (a *API) registerNode(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "node", Method: http.MethodGet, Path: "/v1/node", Summary: "Describe the node",
	}, func(ctx context.Context, _ *nothing) (*answer[wire.Node], error) {
		n, err := a.cfg.Service.Node(ctx)
		if tenantOf(ctx) != TenantLocal {
			n.Path, n.Socket, n.PID, n.Degraded = "", "", 0, nil // of the host, not of the service
		}
		return &answer[wire.Node]{n}, err
	})
	register(a, h, huma.Operation{
		OperationID: "stop-node", Method: http.MethodPost, Path: "/v1/node/stop",
		Summary:       "Stop the node; jobs in containers go on. Only over the unix socket",
		DefaultStatus: http.StatusAccepted,
	}, a.stopNode)
	a.registerDrain(h)
	register(a, h, huma.Operation{
		OperationID: "gc", Method: http.MethodPost, Path: "/v1/node/gc", Summary: "Remove the blocks that no pin needs",
		Middlewares: huma.Middlewares{noDeadline},
	}, func(ctx context.Context, _ *nothing) (*answer[wire.Collected], error) {
		if err := adminOnly(ctx); err != nil { // what others have not pinned yet is theirs
			return nil, err
		}
		c, err := a.cfg.Service.GC(ctx)
		return &answer[wire.Collected]{c}, err
	})
}

func (a *API) stopNode(ctx context.Context, _ *nothing) (*nothing, error) {
	if err := ownUser(ctx, "stopped", "stop"); err != nil {
		return nil, err
	}
	a.cfg.Service.Shutdown()
	return nil, nil
}

// ownUser refuses all but the node's own user: a tenant must not end the others'
// node.
func ownUser(ctx context.Context, what, command string) error {
	if callerOf(ctx).socket {
		return nil
	}
	return jobspec.Failure{
		Kind: jobspec.KindPolicy, Detail: "a node is " + what + " by its own user only",
		Hint: "use the node's unix socket: ipdc node " + command + " on its machine",
	}.Error()
}

// noDeadline is for an answer that takes as long as it takes.
func noDeadline(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	next(ctx)
}

// registerHealth adds what an init system asks, without a token.
func (a *API) registerHealth(doc *huma.OpenAPI) {
	a.registerStream(doc, huma.Operation{
		OperationID: "healthz", Method: http.MethodGet, Path: "/healthz", Summary: "Is the process alive", Responses: textDoc(), Security: noToken,
	}, func(w *stream, _ *http.Request) error {
		return writeText(w, "ok\n")
	})
	a.registerStream(doc, huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Summary: "Can the node take jobs", Description: "503 when it cannot; \"degraded\" and the names of engines that do not answer, whose jobs wait, and of files that cannot be read again.", Responses: textDoc(), Security: noToken,
	}, func(w *stream, r *http.Request) error {
		n, err := a.cfg.Service.Node(r.Context())
		if err == nil && len(n.Problems) > 0 {
			err = errors.New(strings.Join(n.Problems, "; "))
		}
		if err == nil && n.Draining {
			return refuse(http.StatusServiceUnavailable, jobspec.KindConflict, "ipdc node drain --undo lets it take work again", "the node drains")
		}
		if err != nil {
			a.log.Warn("not ready", "err", err)
			return refuse(http.StatusServiceUnavailable, jobspec.KindInternal, "the node's log says why", "the node is not ready")
		}
		return writeText(w, readiness(n))
	})
}

// readiness names the engines that cannot be used now, and the parts that cannot
// be read again; strangers are not told why.
func readiness(n wire.Node) string {
	var bad []string
	for _, ex := range n.Executors {
		if ex.Problem != "" {
			bad = append(bad, ex.Name)
		}
	}
	for _, why := range n.Degraded {
		part, _, _ := strings.Cut(why, ":")
		bad = append(bad, part)
	}
	if len(bad) == 0 {
		return "ok\n"
	}
	return "degraded: " + strings.Join(bad, ", ") + "\n"
}

func writeText(w *stream, s string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte(s))
	return err
}

func textDoc() map[string]*huma.Response {
	d := problemDoc()
	d["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{
		"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}},
	}}
	return d
}
