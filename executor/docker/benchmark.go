package docker

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// Item is one of the CIS Docker Benchmark, version 1.6.0.
type Item struct {
	ID     string `json:"id"` // "5.4"
	Title  string `json:"title"`
	Status string `json:"status"` // "pass", "warn", or "not applicable"
	Found  string `json:"finding"`
	Advice string `json:"advice,omitempty"` // what to do about a warning
}

// The values of Item.Status.
const (
	ItemPass = "pass"
	ItemWarn = "warn"
	ItemNone = "not applicable"
)

// Pass, Warn and None make items.
func Pass(id, title, found string) Item { return Item{id, title, ItemPass, found, ""} }

// Warn is an item that somebody should mend, as advice says.
func Warn(id, title, found, advice string) Item { return Item{id, title, ItemWarn, found, advice} }

// None is an item that does not apply, for the reason.
func None(id, title, why string) Item { return Item{id, title, ItemNone, why, ""} }

// judge is Pass where ok holds, else Warn.
func judge(ok bool, id, title, good, bad, advice string) Item {
	if ok {
		return Pass(id, title, good)
	}
	return Warn(id, title, bad, advice)
}

// benchmark judges section 2 by what the engine says of itself, and section 5
// by what every job's container is made from.
func benchmark(si system.Info, host string) []Item {
	return append(daemonItems(si, host), jobItems(si)...)
}

func daemonItems(si system.Info, host string) []Item {
	const file = "/etc/docker/daemon.json"
	has := func(name string) bool {
		return slices.ContainsFunc(si.SecurityOptions, func(o string) bool { return o == "name="+name || strings.HasPrefix(o, "name="+name+",") })
	}
	local := strings.HasPrefix(host, "unix://") || strings.HasPrefix(host, "fd://")
	return []Item{
		judge(has("rootless"), "2.1", "Run the Docker daemon as a non-root user, if possible", "rootless", "the engine is root", "a rootless engine takes cgroup v2 to hold limits; then: dockerd-rootless-setuptool.sh install"),
		None("2.2", "Network traffic is restricted between containers on the default bridge", "jobs are on no network"),
		judge(!si.Debug, "2.3", "The logging level is set to info", "no debug log", "the engine logs for debugging", `leave "debug" and "log-level" out of `+file),
		None("2.4", "Docker is allowed to make changes to iptables", "jobs are on no network"),
		judge(insecure(si) == "", "2.5", "Insecure registries are not used", "none but on loopback", insecure(si)+" are asked without TLS", `take "insecure-registries" out of `+file),
		judge(si.Driver != "aufs", "2.6", "The aufs storage driver is not used", si.Driver, si.Driver, "use overlay2"),
		judge(local || strings.HasPrefix(host, "https://"), "2.7", "TLS authentication for the Docker daemon is configured", "it is asked by a socket: "+host, "it is asked by "+host, "name its unix socket in the setting docker"),
		Pass("2.8", "The default ulimit is configured appropriately", "every job has its own: open files, no core dumps"),
		judge(has("userns") || has("rootless"), "2.9", "User namespace support is enabled", "on", "off: numbers of users in containers are those of the host; jobs have some above 2 x 10^9 that /etc/passwd, group, subuid and subgid give to nobody",
			"isolation: strict puts a user namespace around a job; \"userns-remap\" in "+file+" would, too, and take the node's mounts from jobs"),
		Pass("2.10", "The default cgroup usage has been confirmed", "every job lies below the node's own group"),
		None("2.12", "Authorization for Docker client commands is enabled", "whoever reaches the socket is root; keep it to root and the node"),
		None("2.13", "Centralized and remote logging is configured", "logs of jobs are the node's: ipdc job logs"),
		Pass("2.14", "Containers are restricted from acquiring new privileges", "every job is, whatever the engine's default"),
		judge(si.LiveRestoreEnabled, "2.15", "Live restore is enabled", "on", "off: jobs that run end with the engine and are tried again", `"live-restore": true in `+file),
		None("2.16", "The userland proxy is disabled", "jobs publish no port"),
		judge(hasSeccomp(si.SecurityOptions), "2.17", "A daemon-wide seccomp profile is applied", "the engine's profile", "none", "leave seccomp-profile out of "+file),
		judge(!si.ExperimentalBuild, "2.18", "Experimental features are not implemented in production", "off", "on", `leave "experimental" out of `+file),
	}
}

// insecure lists the registries that the engine asks without TLS, but for those
// of the machine itself.
func insecure(si system.Info) string {
	if si.RegistryConfig == nil {
		return ""
	}
	var list []string
	loop := netip.MustParsePrefix("127.0.0.0/8")
	for _, p := range si.RegistryConfig.InsecureRegistryCIDRs {
		within := p.Bits() >= loop.Bits() && loop.Contains(p.Addr())
		if !within && p != netip.MustParsePrefix("::1/128") {
			list = append(list, p.String())
		}
	}
	for name, r := range si.RegistryConfig.IndexConfigs {
		if !r.Secure {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// jobItems looks at the container of some job.
func jobItems(si system.Info) []Item {
	engine := Engine{Arch: goArch(si.Architecture), CPUs: si.NCPU, Runtime: si.DefaultRuntime}
	cfg, hc, err := ContainerConfig(executor.Task{
		Name: "job", Command: []string{"/ipdc/guest"}, First: true, UID: 1, GID: 1, Memory: jobspec.DefaultMemory, CPU: jobspec.DefaultCPU, Pids: 1, NoFile: 1, Tmp: 1, Shm: 1, LogSize: 2,
	}, engine, Image{Arch: engine.Arch})
	if err != nil {
		return nil
	}
	has := func(name string) bool { return slices.Contains(si.SecurityOptions, "name="+name) }
	job := func(ok bool, id, title, good string) Item {
		return judge(ok, id, title, good+", in every job", "a job's container has another setting", "this is a fault of ipdc: please report it")
	}
	nobody := func(id, title string) Item { return None(id, title, "nobody runs commands in a job's container") }
	return []Item{
		judge(si.Swarm.LocalNodeState == "" || si.Swarm.LocalNodeState == swarm.LocalNodeStateInactive, "5.1", "Swarm mode is not enabled, if not needed", "off", "on", "docker swarm leave"),
		judge(has("apparmor"), "5.2", "An AppArmor profile is enabled", "the engine's", "the kernel or the engine has no AppArmor", "on Debian and Ubuntu: apt-get install apparmor, then restart the engine; SELinux does as well"),
		judge(has("selinux") || has("apparmor"), "5.3", "SELinux security options are set", "or AppArmor's", "the engine has neither SELinux nor AppArmor", "see 5.2"),
		job(slices.Equal(hc.CapDrop, []string{"ALL"}) && len(hc.CapAdd) == 0, "5.4", "Linux kernel capabilities are restricted within containers", "none"),
		job(!hc.Privileged, "5.5", "Privileged containers are not used", "not privileged"),
		job(len(hc.Binds) == 0, "5.6", "Sensitive host system directories are not mounted on containers", "the task's own directories only"),
		None("5.7", "sshd is not run within containers", "it could be reached by nobody: jobs are on no network"),
		job(len(hc.PortBindings) == 0, "5.8", "Privileged ports are not mapped within containers", "no port is mapped"),
		job(!hc.PublishAllPorts, "5.9", "Only needed ports are open on the container", "none is"),
		job(hc.NetworkMode == "none", "5.10", "The host's network namespace is not shared", "no network"),
		job(hc.Memory > 0 && hc.MemorySwap == hc.Memory, "5.11", "The memory usage for containers is limited", "limited, swap included"),
		job(hc.NanoCPUs > 0, "5.12", "CPU priority is set appropriately on containers", "a hard limit"),
		job(hc.ReadonlyRootfs, "5.13", "The container's root filesystem is mounted as read only", "read-only"),
		None("5.14", "Incoming container traffic is bound to a specific host interface", "no port is mapped"),
		job(hc.RestartPolicy.Name == container.RestartPolicyDisabled, "5.15", "The on-failure container restart policy is set to 5", "the engine restarts none; the node tries again, 3 times"),
		job(hc.PidMode == "", "5.16", "The host's process namespace is not shared", "its own"),
		job(hc.IpcMode == container.IPCModeNone, "5.17", "The host's IPC namespace is not shared", "its own"),
		job(len(hc.Devices) == 0, "5.18", "Host devices are not directly exposed to containers", "none but GPUs that were asked for"),
		job(len(hc.Ulimits) == 2, "5.19", "The default ulimit is overwritten at runtime if needed", "open files, core dumps"),
		job(len(bindMounts([]executor.Mount{{}})) == 1 && bindMounts([]executor.Mount{{}})[0].BindOptions.Propagation == "rprivate", "5.20", "Mount propagation mode is not set to shared", "private"),
		job(hc.UTSMode == "", "5.21", "The host's UTS namespace is not shared", "its own"),
		job(!slices.Contains(hc.SecurityOpt, "seccomp=unconfined"), "5.22", "The default seccomp profile is not disabled", "the engine's profile"),
		nobody("5.23", "docker exec commands are not used with the privileged option"),
		nobody("5.24", "docker exec commands are not used with the user=root option"),
		job(cfg.User == "1:1", "5.25", "cgroup usage is confirmed", "below the node's own group"),
		job(slices.Contains(hc.SecurityOpt, "no-new-privileges"), "5.26", "The container is restricted from acquiring additional privileges", "no new privileges"),
		None("5.27", "Container health is checked at runtime", "a job ends; a service would be checked"),
		None("5.28", "Docker commands always make use of the latest version of their image", "an image is its digest, by design"),
		job(hc.PidsLimit != nil && *hc.PidsLimit > 0, "5.29", "The PIDs cgroup limit is used", "limited"),
		job(hc.NetworkMode == "none", "5.30", "Docker's default bridge docker0 is not used", "no network"),
		job(hc.UsernsMode == "", "5.31", "The host's user namespaces are not shared", "the engine's default, see 2.9"),
		job(len(hc.Mounts) == 0, "5.32", "The Docker socket is not mounted inside any containers", "the guard refuses whatever is not the task's"),
	}
}
