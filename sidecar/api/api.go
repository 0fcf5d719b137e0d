package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// TenantLocal is the tenant of the unix socket.
const TenantLocal = "local"

// maxSpec bounds the body of a submit in bytes.
const maxSpec = jobspec.MaxSpecSize

// Config is what an API is made of. Fields without a default are required.
type Config struct {
	Service Service
	IPFS    ipfs.Node
	// Swarm is the other members of the node's domain; default none.
	Swarm Swarm
	// Errands are the jobs that other members have taken; default: members
	// take none.
	Errands Errands
	// Schedules are those of the node; default it has none.
	Schedules Schedules
	// Attachments are the CAR files that the node serves in place; default:
	// it can serve none.
	Attachments Attachments
	// Datasets are the named ones of the node's tenants; default none.
	Datasets Datasets
	// Streams reach the members, which ask about their jobs by them; default
	// none.
	Streams bus.Streams
	// Tokens says who may use the port. nil means that no token is valid and
	// only the socket can be used.
	Tokens TokenStore
	// Registry takes the API's metrics, and is what GET /metrics shows; default
	// a new one.
	Registry *prometheus.Registry

	Version string       // of ipdc, for openapi.json
	Logger  *slog.Logger // default slog.Default
	Room    Room         // bounds what uploads store; default: no bound

	Budget      ipfs.Budget   // of one listing or download as files; zero fields have ipfs's defaults
	MaxUpload   int64         // bytes of one CAR; default 10 GiB
	MaxConns    int           // on the port at once, more are closed; default 256
	Heartbeat   time.Duration // between comments on an idle event stream; default 15 s
	EventStall  time.Duration // an event reader that takes nothing for so long is cut; it can resume; default 30 s
	StreamStall time.Duration // the same for logs and DAGs, which may be read by a pager; default 15 min
	BodyStall   time.Duration // a request body that brings nothing for so long is cut; default 1 min
	UploadTime  time.Duration // for all of an uploaded CAR; default 6 h
	HoldTime    time.Duration // for which an upload is held whose caller went without a word; default UploadTime and 6 h
	Grace       time.Duration // for requests that are under way when Serve ends; default 5 s
	Timeout     time.Duration // for a request that is no stream; default 2 min
	Rate        float64       // requests a second that one token may make on average, twice as many at once; default 100
}

func (c Config) withDefaults() Config {
	if c.Tokens == nil {
		c.Tokens = noTokens{}
	}
	if c.Swarm == nil {
		c.Swarm = alone{}
	}
	if c.Attachments == nil {
		c.Attachments = unattached{}
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Room == nil {
		c.Room = noBound{}
	}
	c.MaxUpload = cmp.Or(c.MaxUpload, 10<<30)
	c.MaxConns = cmp.Or(c.MaxConns, 256)
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.EventStall = cmp.Or(c.EventStall, 30*time.Second)
	c.StreamStall = cmp.Or(c.StreamStall, 15*time.Minute)
	c.BodyStall = cmp.Or(c.BodyStall, time.Minute)
	c.UploadTime = cmp.Or(c.UploadTime, 6*time.Hour)
	c.HoldTime = cmp.Or(c.HoldTime, c.UploadTime+6*time.Hour)
	c.Grace = cmp.Or(c.Grace, 5*time.Second)
	c.Rate = cmp.Or(c.Rate, 100)
	c.Timeout = cmp.Or(c.Timeout, 2*time.Minute)
	return c
}

// API serves one sidecar. It holds no state but its connections.
type API struct {
	cfg     Config
	log     *slog.Logger
	mux     *http.ServeMux
	queries map[string][]string // query parameters by pattern, from the OpenAPI document
	methods map[string][]string // by path of the OpenAPI document
	openapi []byte

	stopping chan struct{} // closed by stop: event and log streams end
	stop     func()
	active   requests
	sessions *sessions
	members  busy // with requests
	tunnels  busy // with streams to tasks
	metrics  metrics
}

// New returns an API. It does no I/O.
func New(cfg Config) *API {
	a := &API{
		cfg: cfg.withDefaults(), mux: http.NewServeMux(),
		queries: map[string][]string{}, methods: map[string][]string{}, stopping: make(chan struct{}), sessions: newSessions(),
	}
	a.metrics = newMetrics(a.cfg.Registry)
	a.log = a.cfg.Logger
	a.stop = sync.OnceFunc(func() { close(a.stopping) })
	h := humago.New(a.mux, humaConfig(a.cfg.Version))
	a.registerNode(h)
	a.registerPeers(h)
	a.registerTokens(h)
	a.registerJobs(h)
	a.registerPrune(h)
	a.registerMerge(h)
	a.registerPublish(h)
	a.registerPlan(h)
	a.registerSchedules(h)
	a.registerPaths(h)
	a.registerImages(h)
	a.registerPins(h)
	a.registerHolds(h)
	a.registerAttached(h)
	a.registerDatasets(h)
	a.registerStreams(h.OpenAPI())
	a.registerDAG(h.OpenAPI())
	a.registerTunnel(h.OpenAPI())
	a.registerMetrics(h.OpenAPI())
	a.document(h.OpenAPI())
	return a
}

// Handler returns the HTTP handler. With tenantFromSocket every request is of
// tenant "local", for a listener that only the node's user can reach; without,
// a request needs a token, a loopback Host, and no foreign Origin.
func (a *API) Handler(tenantFromSocket bool) http.Handler {
	return a.recovered(a.guarded(tenantFromSocket, http.HandlerFunc(a.route)))
}

// register adds a JSON endpoint. Input is checked by the handlers, so
// that their problems have our kinds; huma documents them.
func register[I, O any](a *API, h huma.API, op huma.Operation, f func(context.Context, *I) (*O, error)) {
	op.SkipValidateParams, op.SkipValidateBody = true, true
	if op.RequestBody != nil { // huma documents a body that we read by ourselves as bytes
		const media = "application/json"
		body := op.RequestBody.Content[media]
		defer func() { op.RequestBody.Content[media] = body }()
	}
	huma.Register(h, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		return out, a.fail(ctx, err)
	})
}

// streamHandler answers by itself. What it returns becomes a problem when
// nothing was sent yet, and else aborts the connection, so that the client
// sees a stream that was cut.
type streamHandler func(w *stream, r *http.Request) error

func (a *API) registerStream(doc *huma.OpenAPI, op huma.Operation, f streamHandler) {
	doc.AddOperation(&op)
	a.mux.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		s := newStream(w, a.cfg.StreamStall)
		err := f(s, r)
		if err == nil {
			err = s.finish()
		}
		switch {
		case err == nil:
		case s.begun:
			a.log.Debug("stream cut", "path", r.URL.Path, "err", err)
			panic(http.ErrAbortHandler)
		default:
			a.writeError(w, r, err)
		}
	})
}

// problemDoc documents the answer to anything that goes wrong.
func problemDoc() map[string]*huma.Response {
	return map[string]*huma.Response{"default": {
		Description: "Problem",
		Content:     map[string]*huma.MediaType{typeProblem: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
	}}
}

var _ huma.StatusError = problemError{wire.Problem{}}
