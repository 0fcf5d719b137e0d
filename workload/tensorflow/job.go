package tensorflow

import (
	_ "embed"
	"maps"

	"github.com/ipdc/ipdc/jobspec"
)

// Image is the stock image that tasks run in.
const Image = "tensorflow"

// The labels of jobs of this package.
const (
	Label        = "ipdc.workload"
	LabelCluster = "tensorflow"      // of clusters, as the value of Label
	LabelRun     = "tensorflow-run"  // of trainings
	ClusterLabel = "ipdc.tensorflow" // Cluster.ID, of clusters
)

// HarnessFile runs the script and is beside it; no file of the user's has this
// name.
const HarnessFile = "ipdc_tensorflow.py"

// DefaultMemory is that of a task; TensorFlow alone takes 400 MiB.
const DefaultMemory = 2 * jobspec.GiB

// restarts is how often a cluster that lost a task is started again, as long
// as it is up.
const restarts = 100

//go:embed harness.py
var harness []byte

//go:embed create_worker.py
var worker []byte

// Worker is the create_worker.py that a cluster starts with.
func Worker() []byte { return worker }

// Job is a job without its code.
type Job struct {
	Spec jobspec.Spec
	Code map[string][]byte // the files of the code folder
}

// Up is a cluster whose tasks run worker until the job is stopped; one that ends
// has failed, whatever its exit code.
func Up(c Cluster, worker []byte) Job {
	j := program(c.Conf(), "--server", "/code/"+WorkerFile)
	j.Code[WorkerFile] = worker
	j.Spec.Labels = map[string]string{Label: LabelCluster, ClusterLabel: c.ID}
	j.Spec.Gang.Restarts = restarts
	j.Spec.Timeouts = jobspec.Timeouts{Run: jobspec.NoLimit, Total: jobspec.NoLimit}
	return j
}

// Run is a training: each task of conf runs files[script] with args. With
// parameter servers it is over when all of the chief, or without one of the
// workers, are.
func Run(conf Conf, script string, files map[string][]byte, args ...string) Job {
	j := program(conf, append([]string{"/code/" + script}, args...)...)
	maps.Copy(j.Code, files)
	j.Spec.Labels = map[string]string{Label: LabelRun}
	j.Spec.Timeouts = jobspec.Timeouts{Run: jobspec.NoLimit, Total: jobspec.NoLimit}
	roles := conf.Roles()
	for _, role := range []string{"worker", "chief"} {
		if roles["ps"] > 0 && roles[role] > 0 {
			j.Spec.Gang.Ends = role
		}
	}
	return j
}

func program(conf Conf, args ...string) Job {
	gang := conf.gang()
	gang.Restart = jobspec.GangRestartAll
	return Job{
		Code: map[string][]byte{HarnessFile: harness},
		Spec: jobspec.Spec{
			Version: jobspec.Version, Gang: &gang,
			Run: jobspec.Run{
				Image:   Image,
				Command: append([]string{"python3", "/code/" + HarnessFile}, args...),
				Per:     jobspec.PerTask,
			},
			Resources: jobspec.Resources{Memory: DefaultMemory},
		},
	}
}
