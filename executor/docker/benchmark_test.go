package docker_test

import (
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"github.com/ipdc/ipdc/executor/docker"
)

// What an engine is set to decides its items; those of a job's container pass.
func TestBenchmark(t *testing.T) {
	status := func(si system.Info, host string) map[string]string {
		m := map[string]string{}
		for _, i := range docker.Benchmark(si, host) {
			m[i.ID] = i.Status
		}
		return m
	}
	good := goodEngine()
	good.LiveRestoreEnabled = true
	good.SecurityOptions = append(good.SecurityOptions, "name=rootless")
	good.RegistryConfig = &registry.ServiceConfig{InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for id, s := range status(good, "unix:///var/run/docker.sock") {
		if s == docker.ItemWarn {
			t.Errorf("a good engine: item %s is %s", id, s)
		}
	}
	for cidr, want := range map[string]string{
		"127.0.0.0/8": docker.ItemPass, "127.0.0.1/32": docker.ItemPass, "::1/128": docker.ItemPass,
		"0.0.0.0/0": docker.ItemWarn, "126.0.0.0/7": docker.ItemWarn, "10.0.0.0/8": docker.ItemWarn, "::/0": docker.ItemWarn,
	} {
		si := good
		si.RegistryConfig = &registry.ServiceConfig{InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix(cidr)}}
		if got := status(si, "unix:///var/run/docker.sock")["2.5"]; got != want {
			t.Errorf("item 2.5 of an engine that asks %s without TLS is %q, want %q", cidr, got, want)
		}
	}
	for id, spoil := range map[string]func(*system.Info, *string){
		"2.1": func(i *system.Info, _ *string) { i.SecurityOptions = i.SecurityOptions[:2] },
		"2.3": func(i *system.Info, _ *string) { i.Debug = true },
		"2.5": func(i *system.Info, _ *string) {
			i.RegistryConfig.IndexConfigs = map[string]*registry.IndexInfo{"x:5000": {}}
		},
		"2.6":  func(i *system.Info, _ *string) { i.Driver = "aufs" },
		"2.7":  func(_ *system.Info, host *string) { *host = "tcp://10.0.0.1:2375" },
		"2.9":  func(i *system.Info, _ *string) { i.SecurityOptions = i.SecurityOptions[:2] },
		"2.15": func(i *system.Info, _ *string) { i.LiveRestoreEnabled = false },
		"2.17": func(i *system.Info, _ *string) { i.SecurityOptions = []string{"name=rootless", "name=apparmor"} },
		"2.18": func(i *system.Info, _ *string) { i.ExperimentalBuild = true },
		"5.1":  func(i *system.Info, _ *string) { i.Swarm.LocalNodeState = swarm.LocalNodeStateActive },
		"5.2":  func(i *system.Info, _ *string) { i.SecurityOptions = i.SecurityOptions[1:] },
	} {
		bad, host := good, "unix:///var/run/docker.sock"
		config := *good.RegistryConfig
		bad.RegistryConfig = &config
		spoil(&bad, &host)
		if s := status(bad, host)[id]; s != docker.ItemWarn {
			t.Errorf("item %s of an engine that lacks it is %q", id, s)
		}
	}
}
