package sidecar_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	b := newBench(t)
	b.final(b.submit(spec()))
	want := `
# HELP ipdc_jobs_ended_total Jobs that came to their end since the node's start, by final state and kind of failure.
# TYPE ipdc_jobs_ended_total counter
ipdc_jobs_ended_total{kind="",state="succeeded"} 1
# HELP ipdc_attempts_ended_total Attempts that came to their end since the node's start, by last state and kind of failure.
# TYPE ipdc_attempts_ended_total counter
ipdc_attempts_ended_total{kind="",state="recorded"} 1
# HELP ipdc_capacity Capacity of the node: processors, bytes of memory, bytes of disk.
# TYPE ipdc_capacity gauge
ipdc_capacity{resource="cpu"} 2
ipdc_capacity{resource="disk"} 1.7179869184e+10
ipdc_capacity{resource="memory"} 4.294967296e+09
# HELP ipdc_queue_length Tasks that wait for capacity.
# TYPE ipdc_queue_length gauge
ipdc_queue_length 0
# HELP ipdc_jobs Jobs in the record by state.
# TYPE ipdc_jobs gauge
ipdc_jobs{state="succeeded"} 1
`
	err := testutil.GatherAndCompare(b.registry, strings.NewReader(want),
		"ipdc_jobs_ended_total", "ipdc_attempts_ended_total", "ipdc_capacity", "ipdc_queue_length", "ipdc_jobs")
	if err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(b.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("metric %s: %s", p.Metric, p.Text)
	}
}
