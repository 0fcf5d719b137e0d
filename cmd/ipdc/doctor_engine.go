package main

import (
	"context"
	"strings"

	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/images"
)

func (a *app) checkEngine(ctx context.Context) []finding {
	f, err := docker.Inspect(ctx, a.set.Docker, a.set.Runtime, a.set.StrictRuntime)
	if err != nil {
		return []finding{ok("engine", "%v; only WASI modules run without one", err).fail("install and start the Docker Engine (apt-get install docker.io; systemctl start docker), " +
			"join its group (usermod -aG docker $USER, then log in again), or name another one with IPDC_DOCKER")}
	}
	list := append(judgeEngine(f, a.set.StrictRuntime), checkRunsc(ctx, f)...)
	return append(list, cisFinding(cisItems(f)))
}

// judgeEngine says what an engine's facts mean for jobs.
func judgeEngine(f docker.Facts, strict string) []finding {
	engine := ok("engine", "Docker %s, API %s, at %s, on %s", f.Version, f.API, f.Host, f.System)
	if f.Problem != "" {
		engine.Found += ": " + f.Problem
		engine = engine.fail("the sandbox would have a hole; mend this before any job")
	}
	list := []finding{engine}
	for _, p := range []struct{ program, version string }{{"runc", f.Runc}, {"docker", f.Version}, {"containerd", f.Containerd}, {"kernel", f.Kernel}} {
		switch holes := knownHoles(p.program, p.version); {
		case len(holes) > 0:
			list = append(list, ok(p.program, "%s: this release has %s", p.version, strings.Join(holes, ", ")).warn(upgradeAdvice(p.program, p.version)))
		case p.program == "runc":
			list = append(list, ok("runc", "%s, containerd %s, kernel %s", orDash(f.Runc), orDash(f.Containerd), f.Kernel))
		}
	}
	storage := ok("storage", "%s in %s", f.Storage, f.RootDir)
	if f.Storage == "vfs" || f.Storage == "devicemapper" {
		storage = storage.warn("containers start slowly with this driver; use overlay2 (/etc/docker/daemon.json)")
	}
	cgroup := ok("cgroup", "version %s, driver %s", f.CgroupVersion, f.CgroupDriver)
	switch {
	case f.CgroupDriver == "none":
		cgroup = cgroup.warn("limits are not enforced by a rootless engine without cgroup v2; use cgroup v2 with systemd")
	case len(f.Warnings) > 0:
		cgroup.Found += "; " + strings.Join(f.Warnings, "; ")
		cgroup = cgroup.warn("give the machine enough memory, or boot as said")
	}
	return append(list, storage, cgroup, runtimes(f, strict))
}

// runtimes tells of the one whose containers have a kernel of their own.
func runtimes(f docker.Facts, strict string) finding {
	names := strings.Join(f.Runtimes, ", ")
	switch {
	case f.Strict == "":
		return ok("runtimes", "%s; none for isolation: strict, which wants %s (setting strict-runtime). Strict jobs are refused here; scripts/runsc.sh of ipdc's source registers gVisor's runsc", names, orDash(strict))
	case strings.HasPrefix(f.Strict, "runsc"):
		return ok("runtimes", "%s; isolation: strict by %s", names, f.Strict)
	}
	return ok("runtimes", "%s; isolation: strict by %s. Behind a virtual machine's kernel, as Kata's, the sockets of a network and of gangs lead nowhere", names, f.Strict)
}

func (a *app) checkImages(ctx context.Context) []finding {
	st, err := a.engineImages(ctx)
	if err != nil {
		return nil // the engine's line says why
	}
	defer st.Close()
	var have, lack []string
	for _, r := range images.Stock() {
		if _, err := st.Resolve(ctx, r.Name); err == nil {
			have = append(have, r.Name)
		} else if !r.OnDemand {
			lack = append(lack, r.Name)
		}
	}
	if len(lack) > 0 {
		return []finding{ok("images", "stock images are missing: %s", strings.Join(lack, ", ")).
			warn("build them: ipdc image build " + strings.Join(lack, " "))}
	}
	return []finding{ok("images", "stock images are there: %s", strings.Join(have, ", "))}
}
