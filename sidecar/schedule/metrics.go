package schedule

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/ipdc/ipdc/jobspec"
)

// metrics of schedules. Labels are states and reasons, never names.
type metrics struct {
	instants *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, e *Engine) metrics {
	m := promauto.With(r) // which registers nowhere for nil
	m.NewGaugeFunc(prometheus.GaugeOpts{Name: "ipdc_schedules", Help: "Schedules that this node has."}, func() float64 {
		e.mu.Lock()
		defer e.mu.Unlock()
		return float64(len(e.next))
	})
	return metrics{instants: m.NewCounterVec(prometheus.CounterOpts{
		Name: "ipdc_schedule_instants_total", Help: "Instants of schedules since the node's start, by state (due, ended, missed) and why they were missed.",
	}, []string{"state", "missed"})}
}

func (m metrics) noted(i jobspec.Instant) {
	n := 1
	if i.Count > 1 {
		n = i.Count
	}
	m.instants.WithLabelValues(string(i.State), string(i.Missed)).Add(float64(n))
}
