package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics of the API. Labels are of routes and statuses, never of what a
// client sends.
type metrics struct {
	requests *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := promauto.With(r)
	return metrics{
		requests: m.NewCounterVec(prometheus.CounterOpts{
			Name: "ipdc_api_requests_total", Help: "Requests that were answered, by endpoint and HTTP status.",
		}, []string{"route", "code"}),
	}
}

// registerMetrics adds what Prometheus scrapes. A scraper needs a token as
// everybody does: authorization.credentials_file in its configuration.
func (a *API) registerMetrics(doc *huma.OpenAPI) {
	show := promhttp.HandlerFor(a.cfg.Registry, promhttp.HandlerOpts{DisableCompression: true, ErrorHandling: promhttp.ContinueOnError})
	a.registerStream(doc, huma.Operation{
		OperationID: "metrics", Method: http.MethodGet, Path: "/metrics", Summary: "Metrics in the text format of Prometheus",
		Responses: textDoc(),
	}, func(w *stream, r *http.Request) error {
		show.ServeHTTP(w, r)
		return nil
	})
}
