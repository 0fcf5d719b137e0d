package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/executor/docker"
)

func (a *app) doctorCISCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cis", Short: "List the items of the CIS Docker Benchmark that concern jobs and the engine",
		Long: "Cis looks at each item of the CIS Docker Benchmark 1.6.0, sections 1 to 5, that\n" +
			"concerns jobs and their engine, and says pass, warn with what to do, or not\n" +
			"applicable with the reason. A warning is no failure: jobs run.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), checkTime)
			defer cancel()
			f, err := docker.Inspect(ctx, a.set.Docker, a.set.Runtime, a.set.StrictRuntime)
			if err != nil {
				return err
			}
			list := cisItems(f)
			return a.print(list, strings.Join(cisWarned(list), "\n"), func(w io.Writer) error {
				for _, i := range list {
					fmt.Fprintf(w, "%-14s  %-5s %s: %s\n", i.Status, i.ID, i.Title, visible(i.Found))
					if i.Advice != "" {
						fmt.Fprintf(w, "%-14s  %-5s -> %s\n", "", "", visible(i.Advice))
					}
				}
				return nil
			})
		},
	}
}

// cisItems are all items, by number.
func cisItems(f docker.Facts) []docker.Item {
	list := hostItems(f)
	for _, i := range f.Benchmark {
		if strings.HasPrefix(i.ID, "2.") {
			list = append(list, i)
		}
	}
	list = append(list, fileItems(f.Host)...)
	list = append(list, imageItems()...)
	for _, i := range f.Benchmark {
		if strings.HasPrefix(i.ID, "5.") {
			list = append(list, i)
		}
	}
	return list
}

// hostItems are section 1.
func hostItems(f docker.Facts) []docker.Item {
	const partition, trusted, upToDate = "A separate partition for containers has been created", "Only trusted users are allowed to control the Docker daemon", "The version of Docker is up to date"
	list := []docker.Item{docker.Warn("1.1.1", partition, f.RootDir+" lies on the root partition", "give it one of its own; outputs of jobs are bounded either way, images and logs of other containers are not")}
	if ownDevice(f.RootDir) {
		list[0] = docker.Pass("1.1.1", partition, f.RootDir)
	}
	list = append(list,
		docker.None("1.1.2", trusted, "who is in the group docker is root: getent group docker"),
		docker.None("1.2.1", "The container host has been hardened", "is for you to say; this program needs no port of the host open"))
	versions := "Docker " + f.Version + ", runc " + orDash(f.Runc) + ", containerd " + orDash(f.Containerd)
	if holes := slices.Concat(knownHoles("docker", f.Version), knownHoles("runc", f.Runc), knownHoles("containerd", f.Containerd)); len(holes) > 0 {
		return append(list, docker.Warn("1.2.2", upToDate, versions+": "+strings.Join(holes, ", "), upgradeAdvice("docker", f.Version)))
	}
	return append(list, docker.Pass("1.2.2", upToDate, "no hole is known in "+versions))
}

// ownDevice says whether a directory is on another file system than the root.
func ownDevice(dir string) bool {
	var root, st syscall.Stat_t
	return syscall.Stat("/", &root) == nil && syscall.Stat(dir, &st) == nil && st.Dev != root.Dev
}

// fileItems are those of section 3 about files that lead to the engine.
func fileItems(host string) []docker.Item {
	socket, local := strings.CutPrefix(host, "unix://")
	var list []docker.Item
	for _, c := range []struct {
		ids, titles [2]string
		path        string
		groups      []string // it may have; the first is the benchmark's
		most        os.FileMode
		there       bool
	}{
		{[2]string{"3.15", "3.16"}, [2]string{"The Docker socket file's ownership is set to root:docker", "The Docker socket file's permissions are set to 660 or more restrictively"}, socket, []string{"docker", "root"}, 0o660, local},
		{[2]string{"3.17", "3.18"}, [2]string{"The daemon.json file's ownership is set to root:root", "The daemon.json file's permissions are set to 644 or more restrictively"}, "/etc/docker/daemon.json", []string{"root"}, 0o644, true},
	} {
		var st syscall.Stat_t
		err := syscall.ENOENT // of an engine elsewhere
		if c.there {
			err, _ = syscall.Stat(c.path, &st).(syscall.Errno)
		}
		switch err {
		case 0:
		case syscall.ENOENT:
			list = append(list, docker.None(c.ids[0], c.titles[0], "there is none"), docker.None(c.ids[1], c.titles[1], "there is none"))
			continue
		default:
			for i := range c.ids {
				list = append(list, docker.Warn(c.ids[i], c.titles[i], fmt.Sprintf("%s: %v", c.path, err), "look at it as root: sudo ipdc doctor cis"))
			}
			continue
		}
		owner, mode := docker.Pass(c.ids[0], c.titles[0], c.path), docker.Pass(c.ids[1], c.titles[1], c.path)
		if st.Uid != 0 || !slices.Contains(c.groups, groupName(st.Gid)) {
			owner = docker.Warn(c.ids[0], c.titles[0], fmt.Sprintf("%s belongs to user %d, group %s", c.path, st.Uid, groupName(st.Gid)), "chown root:"+c.groups[0]+" "+c.path)
		}
		if m := os.FileMode(st.Mode).Perm(); m&^c.most != 0 {
			mode = docker.Warn(c.ids[1], c.titles[1], fmt.Sprintf("%s has mode %o", c.path, m), fmt.Sprintf("chmod %o %s", c.most, c.path))
		}
		list = append(list, owner, mode)
	}
	return list
}

// groupName is a group's number where it has no name.
func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// imageItems are section 4, which is about building images.
func imageItems() []docker.Item {
	return []docker.Item{
		docker.Pass("4.1", "A user for the container has been created", "every job has a user number of its own, whatever its image says"),
		docker.Pass("4.2", "Containers use only trusted base images", "stock images are built from the host's own packages; others come from the registries in the setting registries"),
		docker.None("4.4", "Images are scanned and rebuilt to include security patches", "run: ipdc image build, after the host's own updates"),
		docker.None("4.5", "Content trust for Docker is enabled", "an image is named by its digest in every plan and receipt"),
		docker.None("4.6", "HEALTHCHECK instructions have been added to container images", "a job ends; they are turned off"),
		docker.Pass("4.8", "Setuid and setgid permissions are removed", "they have no effect: no new privileges"),
		docker.None("4.9", "COPY is used instead of ADD in Dockerfiles", "no Dockerfile is built"),
	}
}

func cisWarned(list []docker.Item) (ids []string) {
	for _, i := range list {
		if i.Status == docker.ItemWarn {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// cisFinding is the doctor's line about all of them. It never warns: what is
// wanted of a host hangs on what it is for.
func cisFinding(list []docker.Item) finding {
	count := map[string]int{}
	for _, i := range list {
		count[i.Status]++
	}
	return ok("cis", "CIS Docker Benchmark: %d pass, %d warn, %d not applicable; see ipdc doctor cis", count[docker.ItemPass], count[docker.ItemWarn], count[docker.ItemNone])
}
