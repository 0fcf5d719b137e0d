package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ipdc/ipdc/ipfs/swap"
)

// swarmGauges are what the node has of its domain's network, looked up when
// somebody asks.
type swarmGauges struct {
	s                                                      *swarm
	members, connected, sent, dropped, refused, moved, gen *prometheus.Desc
}

func newSwarmGauges(s *swarm) *swarmGauges {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ipdc_"+name, help, labels, nil)
	}
	return &swarmGauges{
		s:         s,
		members:   d("members", "Other members that were heard lately."),
		connected: d("members_connected", "Other members that are connected."),
		gen:       d("domain_generation", "Generation of the domain's secret."),
		sent:      d("bus_sent_total", "Messages made for one member, or for all.", "to"),
		dropped:   d("bus_dropped_total", "Messages that were not taken, by reason.", "why"),
		refused:   d("adverts_refused_total", "What members say of themselves, over a bound."),
		moved:     d("swap_bytes_total", "Bytes of blocks exchanged with members: content of files, file nodes, directories.", "direction", "kind"),
	}
}

// Describe implements [prometheus.Collector].
func (g *swarmGauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.members, g.connected, g.gen, g.sent, g.dropped, g.refused, g.moved} {
		c <- d
	}
}

// Collect implements [prometheus.Collector].
func (g *swarmGauges) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(g.members, int64(len(g.s.fleet.Members())))
	gauge(g.connected, int64(len(g.s.streams.Peers())))
	gauge(g.gen, int64(g.s.membership().List.Generation))
	one, all := g.s.post.Sent()
	count(g.sent, one, "one")
	count(g.sent, all, "all")
	for why, n := range g.s.post.Dropped() {
		count(g.dropped, n, why)
	}
	count(g.refused, g.s.fleet.Refused())
	t := g.s.exchange.traffic()
	for direction, b := range map[string]swap.Bytes{"in": t.In, "out": t.Out} {
		count(g.moved, b.Content, direction, "content")
		count(g.moved, b.Files, direction, "files")
		count(g.moved, b.Directories, direction, "directories")
	}
}
