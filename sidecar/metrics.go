package sidecar

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// metrics of the daemon. Labels are states and kinds, never names, ids or
// CIDs.
type metrics struct {
	jobs           *prometheus.CounterVec
	jobSeconds     prometheus.Histogram
	attempts       *prometheus.CounterVec
	attemptSeconds prometheus.Histogram
	sweeps         *prometheus.CounterVec
	stuck          prometheus.Counter
}

// longBuckets reach from a remembered job to one of a day.
var longBuckets = []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}

func newMetrics(r prometheus.Registerer) metrics {
	m := promauto.With(r) // which registers nowhere for nil
	return metrics{
		jobs: m.NewCounterVec(prometheus.CounterOpts{
			Name: "ipdc_jobs_ended_total", Help: "Jobs that came to their end since the node's start, by final state and kind of failure.",
		}, []string{"state", "kind"}),
		jobSeconds: m.NewHistogram(prometheus.HistogramOpts{
			Name: "ipdc_job_seconds", Help: "From a job's acceptance to its final state.", Buckets: longBuckets,
		}),
		attempts: m.NewCounterVec(prometheus.CounterOpts{
			Name: "ipdc_attempts_ended_total", Help: "Attempts that came to their end since the node's start, by last state and kind of failure.",
		}, []string{"state", "kind"}),
		attemptSeconds: m.NewHistogram(prometheus.HistogramOpts{
			Name: "ipdc_attempt_run_seconds", Help: "How long programs ran.", Buckets: longBuckets,
		}),
		sweeps: m.NewCounterVec(prometheus.CounterOpts{
			Name: "ipdc_sweeps_total", Help: "Searches for leftovers, by outcome.",
		}, []string{"outcome"}),
		stuck: m.NewCounter(prometheus.CounterOpts{
			Name: "ipdc_removals_failed_total", Help: "Containers and their directories that could not be removed; each is tried again.",
		}),
	}
}

func (m metrics) jobEnded(j jobspec.Job) {
	m.jobs.WithLabelValues(string(j.State), failureKind(j.Failure)).Inc()
	m.jobSeconds.Observe(j.Finished.Sub(j.Submitted).Seconds())
}

func (m metrics) attemptEnded(a jobspec.Attempt) {
	m.attempts.WithLabelValues(string(a.State), failureKind(a.Failure)).Inc()
	if !a.Exited.IsZero() {
		m.attemptSeconds.Observe(a.Exited.Sub(a.Started).Seconds())
	}
}

func (m metrics) swept(err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	m.sweeps.WithLabelValues(outcome).Inc()
}

func failureKind(f *jobspec.Failure) string {
	if f == nil {
		return ""
	}
	return string(f.Kind)
}

// gauges are what the node has now, looked up when somebody asks.
type gauges struct {
	s                            *Sidecar
	jobs, queue, free, total     *prometheus.Desc
	blocks, blockBytes, problems *prometheus.Desc
}

func newGauges(s *Sidecar) *gauges {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ipdc_"+name, help, labels, nil)
	}
	return &gauges{
		s:          s,
		jobs:       d("jobs", "Jobs in the record by state.", "state"),
		queue:      d("queue_length", "Tasks that wait for capacity."),
		free:       d("capacity_free", "Capacity that no task holds: processors, bytes of memory, bytes of disk.", "resource"),
		total:      d("capacity", "Capacity of the node: processors, bytes of memory, bytes of disk.", "resource"),
		blocks:     d("blockstore_blocks", "Blocks that are stored."),
		blockBytes: d("blockstore_bytes", "Bytes of blocks that are stored."),
		problems:   d("metrics_problems", "1 when a part could not be asked for its metrics.", "part"),
	}
}

// Describe implements [prometheus.Collector].
func (g *gauges) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, c) }

// gaugeTime bounds one look at all parts.
const gaugeTime = 10 * time.Second

// Collect implements [prometheus.Collector].
func (g *gauges) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), gaugeTime)
	defer cancel()
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	problem := func(part string, err error) {
		bad := 0.0
		if err != nil {
			bad = 1
		}
		set(g.problems, bad, part)
	}
	for d, have := range map[*prometheus.Desc]jobspec.Resources{
		g.free: jobspec.Resources(g.s.placer.snapshot()), g.total: jobspec.Resources(g.s.cfg.Capacity),
	} {
		set(d, float64(have.CPU)/1000, "cpu")
		set(d, float64(have.Memory), "memory")
		set(d, float64(have.Disk), "disk")
	}
	set(g.queue, float64(g.s.placer.waiting()))
	counts := map[jobspec.JobState]int{}
	problem("store", g.s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		counts, err = tx.CountJobs()
		return err
	}))
	for state, n := range counts {
		set(g.jobs, float64(n), string(state))
	}
	for _, ex := range g.s.executors(ctx) {
		var err error
		if ex.Problem != "" {
			err = errors.New(ex.Problem)
		}
		problem(ex.Name, err)
	}
	st, err := g.s.cfg.IPFS.Stat(ctx)
	problem("ipfs", err)
	if err == nil {
		set(g.blocks, float64(st.Blocks))
		set(g.blockBytes, float64(st.Bytes))
	}
}

// Busy says whether one task at a time begins here, as other programs use the
// machine for some time by now; memory that is short now does not make it so. It
// may be called each second.
func (s *Sidecar) Busy() bool { return s.cfg.Used != nil && s.cfg.Used() != "" }

// Offer returns what this node has for tasks, what of it is free, and when it
// was started. It may be called each second.
func (s *Sidecar) Offer() (capacity, free wire.Capacity, started time.Time) {
	return s.cfg.Capacity, s.placer.offer(), s.began
}
