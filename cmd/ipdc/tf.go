package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

func (a *app) tfCmd() *cobra.Command {
	cmd := group("tf", "TensorFlow clusters, and trainings on them",
		a.tfSpecCmd(), a.tfUpCmd(), a.tfForwardCmd(), a.tfStatusCmd(), a.tfDownCmd(), a.tfRunCmd())
	cmd.Long = `A directory stands for a cluster. ClusterSpec.conf in it names the tasks of each
job, as TensorFlow calls its roles: {"local": [0, 1]} or {"ps": [0], "worker": [0, 1]}.

  ipdc tf spec     makes ClusterSpec.json and create_worker.py of it
  ipdc tf up       starts the cluster, which stays up until
  ipdc tf down     stops it and deletes both files
  ipdc tf forward  lets programs of this machine reach its tasks
  ipdc tf run      trains with a script that each task of a cluster of its own runs

0, 1 and 2 are other names of spec, up and down. The stock image is built once:
ipdc image build tensorflow. See docs/tensorflow.md.`
	return cmd
}

// tfFlags are the flags of the commands about a cluster.
type tfFlags struct {
	dir   string
	roles [4]int         // of tfRoles
	typed *pflag.FlagSet // where roles are from; nil = the command has no such flags
}

var tfRoles = [4]string{"chief", "local", "ps", "worker"}

func (f *tfFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.dir, "dir", ".", "directory of the cluster")
}

func (f *tfFlags) addRoles(fs *pflag.FlagSet) {
	f.typed = fs
	for i, role := range tfRoles {
		fs.IntVar(&f.roles[i], role, 0, "tasks of the job "+role+", in place of what ClusterSpec.conf says")
	}
}

func (f *tfFlags) path(name string) string { return filepath.Join(f.dir, name) }

// conf is what the flags say, else ClusterSpec.conf; asked says which.
func (f *tfFlags) conf() (conf tensorflow.Conf, asked bool, err error) {
	roles := map[string]int{}
	for i, role := range tfRoles {
		if f.typed == nil || !f.typed.Changed(role) {
			continue
		}
		if asked = true; f.roles[i] != 0 { // 0 = no task of that job
			roles[role] = f.roles[i]
		}
	}
	if asked && len(roles) == 0 {
		return nil, true, usagef("the flags ask for no task: a cluster has at least one, such as --local 2")
	}
	if asked {
		conf, err = tensorflow.NewConf(roles)
		return conf, true, err
	}
	text, err := os.ReadFile(f.path(tensorflow.ConfFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, jobspec.Failure{
			Kind: jobspec.KindNotFound, Where: f.path(tensorflow.ConfFile), Detail: "is not there: it says how many tasks the cluster has",
			Hint: `have it written: ipdc tf spec --ps 1 --worker 2; or write {"local": [0, 1]}`,
		}.Error()
	}
	if err != nil {
		return nil, false, err
	}
	conf, err = tensorflow.ParseConf(text)
	return conf, false, err
}

func (a *app) tfSpecCmd() *cobra.Command {
	f := &tfFlags{}
	cmd := &cobra.Command{
		Use: "spec", Aliases: []string{"0"}, Short: "Make ClusterSpec.json and create_worker.py of ClusterSpec.conf",
		Long: `Spec reads ClusterSpec.conf, or writes it as the flags say, and makes of it
ClusterSpec.json, where a program of yours finds the tasks while ipdc tf forward
runs, and create_worker.py, which each task will run: change it as you like. It
needs no node.`,
		Example: "  ipdc tf spec --local 2\n  ipdc tf spec --ps 1 --worker 2",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			c, err := a.tfSpec(f)
			if err != nil {
				return err
			}
			return a.print(c, c.ID, nothing)
		},
	}
	f.add(cmd.Flags())
	f.addRoles(cmd.Flags())
	return cmd
}

// tfSpec makes the files of a cluster.
func (a *app) tfSpec(f *tfFlags) (c tensorflow.Cluster, err error) {
	if _, err := os.Lstat(f.path(tensorflow.ClusterFile)); err == nil {
		return c, jobspec.Failure{
			Kind: jobspec.KindConflict, Where: f.path(tensorflow.ClusterFile), Detail: "is there: this directory has a cluster already",
			Hint: "start it: ipdc tf up; be rid of it: ipdc tf down",
		}.Error()
	}
	conf, asked, err := f.conf()
	if err != nil {
		return c, err
	}
	if asked {
		if err := f.writeConf(conf); err != nil {
			return c, err
		}
	}
	ports, err := freePorts(conf)
	if err != nil {
		return c, err
	}
	c = tensorflow.NewCluster(conf, ports)
	switch err := durable.CreateFile(f.path(tensorflow.WorkerFile), tensorflow.Worker(), 0o644); {
	case errors.Is(err, fs.ErrExist):
		a.say("%s is there already and is taken as it is", f.path(tensorflow.WorkerFile))
	case err != nil:
		return c, err
	}
	if err := durable.CreateFile(f.path(tensorflow.ClusterFile), c.Encode(), 0o644); err != nil {
		return c, err
	}
	a.say("made %s and %s of %s; next: ipdc tf up", tensorflow.ClusterFile, tensorflow.WorkerFile, count(int64(len(c.Tasks())), "task"))
	return c, nil
}

// writeConf writes ClusterSpec.conf, unless another one is there.
func (f *tfFlags) writeConf(conf tensorflow.Conf) error {
	err := durable.CreateFile(f.path(tensorflow.ConfFile), conf.Encode(), 0o644)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, _, err := (&tfFlags{dir: f.dir}).conf()
	if err != nil {
		return err
	}
	if string(there.Encode()) != string(conf.Encode()) {
		return jobspec.Failure{
			Kind: jobspec.KindConflict, Where: f.path(tensorflow.ConfFile), Detail: "says otherwise: " + strings.TrimSpace(string(there.Encode())),
			Hint: "leave the flags out, or remove the file",
		}.Error()
	}
	return nil
}

// freePorts finds a port for each task of conf that nobody listens on. Another
// program may take one before ipdc tf forward does, which says so then.
func freePorts(conf tensorflow.Conf) (ports []int, err error) {
	for range conf.Tasks() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// cluster reads ClusterSpec.json.
func (f *tfFlags) cluster() (c tensorflow.Cluster, err error) {
	text, err := os.ReadFile(f.path(tensorflow.ClusterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c, jobspec.Failure{
			Kind: jobspec.KindNotFound, Where: f.path(tensorflow.ClusterFile), Detail: "is not there: this directory has no cluster",
			Hint: "make one: ipdc tf spec, then ipdc tf up",
		}.Error()
	}
	if err != nil {
		return c, err
	}
	return tensorflow.ParseCluster(text)
}
