package jobspec_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

func TestAgainst(t *testing.T) {
	node := jobspec.Offer{
		Arch: "amd64", Labels: map[string]string{"disk": "ssd", "region": "eu", "cloud": ""},
		Capacity: jobspec.Resources{CPU: 2000, Memory: jobspec.GiB, Disk: jobspec.GiB},
	}
	for text, want := range map[string][]string{
		"": nil,
		"resources: {cpu: 2, memory: 1GiB, disk: 1GiB}":                                       nil,
		"resources: {cpu: 4, memory: 1GiB, disk: 2GiB}":                                       {"cpu: asks 4, has 2", "disk: asks 2GiB, has 1GiB"},
		"resources: {gpu: 1}":                                                                 {"gpu: asks 1, has 0"},
		"place: {require: {arch: amd64, label.disk: ssd, region: eu}}":                        nil,
		"place: {require: {arch: arm64, label.disk: hdd}}":                                    {"arch: asks arm64, has amd64", "label disk: asks hdd, has ssd"},
		"place: {require: {label.rack: '7', label.region: eu}}":                               {"label rack: asks 7, has none"},
		"place: {require: {label: cloud, label.cloud: ''}}":                                   nil,
		"place: {require: {label: edge, region: us}, overflow: {to: label=cloud, after: 1m}}": {"label edge: missing", "region: asks us, has eu"},
		"isolation: strict":                            {"isolation: asks strict, has standard"},
		splitInput + "place: {require: {data: local}}": nil, // a question of the task
	} {
		if diff := cmp.Diff(want, parse(t, minimal+text+"\n").Against(node)); diff != "" {
			t.Errorf("%q: Against (-want +got):\n%s", text, diff)
		}
	}
	node.Strict = "runsc"
	if why := parse(t, minimal+"isolation: strict\n").Against(node); len(why) > 0 {
		t.Errorf("strict against a node with a kernel for it = %q, want nothing", why)
	}
}

func TestOverflows(t *testing.T) {
	p := parse(t, minimal+"place: {overflow: {to: label=cloud, after: 10m}}\n").Place
	cloud, edge := jobspec.Offer{Labels: map[string]string{"cloud": "x"}}, jobspec.Offer{}
	if !p.Overflows(cloud) || p.Overflows(edge) || (jobspec.Place{}).Overflows(cloud) {
		t.Errorf("Overflows = %v, %v, %v, want true, false, false", p.Overflows(cloud), p.Overflows(edge), (jobspec.Place{}).Overflows(cloud))
	}
}

func TestSlots(t *testing.T) {
	have := jobspec.Resources{CPU: 4000, Memory: 3 * jobspec.GiB, Disk: 8 * jobspec.GiB, GPU: 2}
	for _, test := range []struct {
		ask  jobspec.Resources
		want int
	}{
		{jobspec.Resources{CPU: 1000, Memory: jobspec.GiB, Disk: jobspec.GiB}, 3},
		{jobspec.Resources{CPU: 1000, Memory: jobspec.MiB, Disk: jobspec.GiB, GPU: 1}, 2},
		{jobspec.Resources{CPU: 5000, Memory: jobspec.MiB, Disk: jobspec.GiB}, 0},
	} {
		if got := test.ask.Slots(have); got != test.want {
			t.Errorf("Slots of %+v = %d, want %d", test.ask, got, test.want)
		}
	}
}

func TestNobodySaysWhy(t *testing.T) {
	f := jobspec.Unfit{
		{"memory: asks 64GiB, has 24GiB"}, {"label cloud: missing", "memory: asks 64GiB, has 24GiB"}, {"memory: asks 64GiB, has 24GiB"},
	}.Nobody()
	want := "no member of the domain can run it: 3 members: memory: asks 64GiB, has 24GiB; 1 member: label cloud: missing"
	if f.Kind != jobspec.KindPolicy || f.Detail != want || f.Hint == "" {
		t.Errorf("Nobody = %+v, want E_POLICY: %s", f, want)
	}
	f = jobspec.Unfit{{"gpu: asks 1, has 0"}}.Nobody()
	if want := "this node cannot run it: gpu: asks 1, has 0"; f.Kind != jobspec.KindPolicy || f.Detail != want {
		t.Errorf("Nobody = %+v, want E_POLICY: %s", f, want)
	}
}
