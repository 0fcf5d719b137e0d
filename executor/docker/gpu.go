package docker

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/ipdc/ipdc/jobspec"
)

// nvidia is the runtime, and the driver, by whose name an engine gives
// containers graphics processors.
const nvidia = "nvidia"

// gpuFolder is where that driver lists the processors of the host.
const gpuFolder = "/proc/driver/nvidia/gpus"

// gpuLabel names the processors that a container has, by index: "0,2".
const gpuLabel = "ipdc.gpus"

// countGPUs is how many processors containers of the engine can be given: those
// that the driver lists in folder, where the engine has NVIDIA's runtime.
func countGPUs(si system.Info, folder string) int {
	if _, ok := si.Runtimes[nvidia]; !ok {
		return 0
	}
	list, err := os.ReadDir(folder)
	if err != nil {
		return 0 // there is no such driver
	}
	return len(list)
}

// GPUs is how many graphics processors the containers of this engine can be
// given, as it was when e was opened.
func (e *Executor) GPUs() int { return e.gpus }

// giveGPUs gives the container n processors that no other container of the
// engine has. The caller holds gpuMu until it is made. Another process that
// does the same in that moment may choose the same ones, which harms nothing
// but their speed.
func (e *Executor) giveGPUs(ctx context.Context, cfg *container.Config, hc *container.HostConfig, n int) error {
	res, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", gpuLabel)})
	if err != nil {
		return engineError(err)
	}
	var used []string
	for _, c := range res.Items {
		if c.State == container.StateCreated || running(c.State) {
			used = append(used, strings.Split(c.Labels[gpuLabel], ",")...)
		}
	}
	ids := freeGPUs(e.gpus, used, n)
	if ids == nil {
		return jobspec.KindPolicy.Errorf("the task asks for %d GPUs, and %d of the engine's %d are taken", n, len(used), e.gpus)
	}
	cfg.Labels[gpuLabel] = strings.Join(ids, ",")
	hc.DeviceRequests = []container.DeviceRequest{{Driver: nvidia, DeviceIDs: ids, Capabilities: [][]string{{"gpu"}}}}
	return nil
}

// freeGPUs chooses n of the indices below total that are not used, nil when
// there are fewer.
func freeGPUs(total int, used []string, n int) (ids []string) {
	for i := 0; i < total && len(ids) < n; i++ {
		if id := strconv.Itoa(i); !slices.Contains(used, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) < n {
		return nil
	}
	return ids
}

// checkGPUs approves of processors that are named one by one.
func checkGPUs(r *container.Resources, must rule) {
	for _, d := range r.DeviceRequests {
		ok := d.Driver == nvidia && d.Count == 0 && len(d.DeviceIDs) > 0 && len(d.Options) == 0 &&
			len(d.Capabilities) == 1 && slices.Equal(d.Capabilities[0], []string{"gpu"})
		for _, id := range d.DeviceIDs {
			_, err := strconv.ParseUint(id, 10, 16)
			ok = ok && err == nil
		}
		must(ok, "DeviceRequests", fmt.Sprint(d))
	}
	r.DeviceRequests = nil
}
