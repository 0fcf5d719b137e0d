package docker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/testenv"
)

// prefix begins the name of whatever these tests make on the engine.
const prefix = "ipdctest."

// TestMain fails the run when anything is left behind: F62.
func TestMain(m *testing.M) {
	if !testenv.HasDocker() {
		os.Exit(m.Run()) // each test says what it needs
	}
	before, err := belongings()
	code := m.Run()
	after, err2 := belongings()
	if err != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, "look for what is left:", err, err2)
		code = 1
	}
	for thing := range after {
		if !before[thing] {
			fmt.Fprintln(os.Stderr, "left behind:", thing)
			code = 1
		}
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// belongings returns what a run could leave on the engine and on the host.
func belongings() (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	api, err := client.New(client.FromEnv)
	if err != nil {
		return nil, err
	}
	defer api.Close()
	out := map[string]bool{}
	containers, err := api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, err
	}
	for _, c := range containers.Items {
		if name := strings.TrimPrefix(c.Names[0], "/"); strings.HasPrefix(name, prefix) {
			out["container "+name] = true
		}
	}
	volumes, err := api.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("dangling", "true")})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes.Items {
		out["volume "+v.Name] = true
	}
	networks, err := api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, err
	}
	for _, n := range networks.Items {
		out["network "+n.Name] = true
	}
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/" + prefix + "*")
	for _, dir := range cgroups {
		out["cgroup "+dir] = true
	}
	return out, err
}
