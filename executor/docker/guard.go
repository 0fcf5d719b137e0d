package docker

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

// check is the second guard: it knows nothing of a Task and refuses every
// setting that is not on its list. It takes each allowed setting out of a copy
// once its value was approved; whatever is left and not empty is refused, so a
// field that a later API adds is refused too.
func check(cfg container.Config, hc container.HostConfig, roots []string, runtime string) error {
	var bad []error
	must := func(ok bool, field string, value any) {
		if !ok {
			bad = append(bad, fmt.Errorf("%s is %v", field, value))
		}
	}
	checkProcess(cfg, must)
	checkWalls(&hc, must)
	checkLimits(&hc.Resources, must)
	checkGPUs(&hc.Resources, must)
	for _, m := range hc.Mounts {
		must(m.Type == mount.TypeBind && within(m.Source, roots), "Mounts", m.Source)
		b := m.BindOptions
		must(b == nil || b.Propagation == mount.PropagationRPrivate && !b.CreateMountpoint, "Mounts.BindOptions", m.Source)
	}
	for dst, opts := range hc.Tmpfs {
		for _, o := range []string{"nosuid", "nodev"} {
			must(slices.Contains(strings.Split(opts, ","), o), "Tmpfs", dst+" without "+o)
		}
		must(strings.Contains(opts, "size=") && !strings.Contains(opts, "size=0,"), "Tmpfs", dst+" without a size")
	}
	must(hc.Runtime == runtime, "Runtime", hc.Runtime)
	must(hc.ShmSize > 0, "ShmSize", hc.ShmSize)
	hc.Mounts, hc.Tmpfs, hc.ShmSize, hc.Runtime = nil, nil, 0, ""
	bad = append(bad, leftovers(reflect.ValueOf(hc), "")...)
	if len(bad) > 0 {
		return fmt.Errorf("the sandbox guard refuses the container: %w", errors.Join(bad...))
	}
	return nil
}

type rule func(ok bool, field string, value any)

func checkProcess(cfg container.Config, must rule) {
	uid, gid, _ := strings.Cut(cfg.User, ":")
	must(positive(uid) && positive(gid), "User", cfg.User)
	must(len(cfg.Entrypoint) == 1, "Entrypoint", cfg.Entrypoint)
	must(!cfg.OpenStdin && !cfg.Tty && !cfg.AttachStdin, "OpenStdin, Tty or AttachStdin", true)
	must(cfg.NetworkDisabled, "NetworkDisabled", cfg.NetworkDisabled)
	must(cfg.StopSignal == "SIGTERM", "StopSignal", cfg.StopSignal)
	must(cfg.Healthcheck != nil && slices.Equal(cfg.Healthcheck.Test, []string{"NONE"}), "Healthcheck", cfg.Healthcheck)
}

func checkWalls(hc *container.HostConfig, must rule) {
	must(hc.NetworkMode == "none", "NetworkMode", hc.NetworkMode)
	must(hc.IpcMode == container.IPCModeNone, "IpcMode", hc.IpcMode)
	must(hc.CgroupnsMode == container.CgroupnsModePrivate, "CgroupnsMode", hc.CgroupnsMode)
	must(slices.Equal(hc.CapDrop, []string{"ALL"}), "CapDrop", hc.CapDrop)
	must(slices.Equal(hc.SecurityOpt, []string{"no-new-privileges"}), "SecurityOpt", hc.SecurityOpt)
	must(hc.ReadonlyRootfs, "ReadonlyRootfs", hc.ReadonlyRootfs)
	must(hc.Init != nil, "Init", hc.Init) // else it is as the engine is configured
	must(hc.OomScoreAdj > 0, "OomScoreAdj", hc.OomScoreAdj)
	must(hc.RestartPolicy == container.RestartPolicy{Name: "no"}, "RestartPolicy", hc.RestartPolicy)
	must(hc.LogConfig.Type == "local" && hc.LogConfig.Config["max-size"] != "", "LogConfig", hc.LogConfig)
	must(containsAll(hc.MaskedPaths, maskedPaths(0)), "MaskedPaths", hc.MaskedPaths)
	must(containsAll(hc.ReadonlyPaths, readonlyPaths()), "ReadonlyPaths", hc.ReadonlyPaths)
	hc.NetworkMode, hc.IpcMode, hc.CgroupnsMode = "", "", ""
	hc.CapDrop, hc.SecurityOpt, hc.MaskedPaths, hc.ReadonlyPaths = nil, nil, nil, nil
	hc.ReadonlyRootfs, hc.Init, hc.OomScoreAdj = false, nil, 0
	hc.RestartPolicy, hc.LogConfig = container.RestartPolicy{}, container.LogConfig{}
}

func checkLimits(r *container.Resources, must rule) {
	must(r.NanoCPUs > 0, "NanoCpus", r.NanoCPUs)
	must(r.Memory > 0 && r.MemorySwap == r.Memory, "Memory and MemorySwap", []int64{r.Memory, r.MemorySwap})
	must(r.PidsLimit != nil && *r.PidsLimit > 0, "PidsLimit", r.PidsLimit)
	names := map[string]bool{}
	for _, u := range r.Ulimits {
		names[u.Name] = u.Name == "nofile" && u.Hard > 0 || u.Name == "core" && u.Hard == 0
	}
	must(len(names) == 2 && names["nofile"] && names["core"], "Ulimits", r.Ulimits)
	r.NanoCPUs, r.Memory, r.MemorySwap, r.PidsLimit, r.Ulimits = 0, 0, 0, nil, nil
	must(!strings.Contains(r.CgroupParent, ".."), "CgroupParent", r.CgroupParent)
	r.CgroupParent = ""
}

// leftovers names the fields below v that are not empty.
func leftovers(v reflect.Value, name string) (bad []error) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			bad = append(bad, leftovers(v.Field(i), v.Type().Field(i).Name)...)
		}
		return bad
	case reflect.Pointer:
		if !v.IsNil() {
			return leftovers(v.Elem(), name)
		}
		return nil
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			return nil
		}
	default:
		if v.IsZero() {
			return nil
		}
	}
	return []error{fmt.Errorf("%s is set", name)}
}

// within reports whether p lies below one of roots, or anywhere but at the
// root and in the kernel's trees when there are none.
func within(p string, roots []string) bool {
	for _, deny := range []string{"/proc", "/sys", "/dev"} {
		if p == deny || strings.HasPrefix(p, deny+"/") {
			return false
		}
	}
	for _, r := range roots {
		if strings.HasPrefix(p, strings.TrimSuffix(r, "/")+"/") {
			return true
		}
	}
	return len(roots) == 0 && p != "/"
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// positive reports whether s is a decimal number greater than zero.
func positive(s string) bool {
	return s != "" && s[0] >= '1' && s[0] <= '9' && strings.Trim(s, "0123456789") == ""
}
