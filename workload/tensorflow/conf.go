package tensorflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/ipdc/ipdc/jobspec"
)

// The files of a cluster, in the directory that stands for it.
const (
	ConfFile    = "ClusterSpec.conf" // what the user asks for
	ClusterFile = "ClusterSpec.json" // where its tasks are reached
	WorkerFile  = "create_worker.py" // what its tasks run
)

// maxConf bounds the text of a conf in bytes.
const maxConf = 64 << 10

// Conf is what ClusterSpec.conf says: the indices of the tasks of each job, as
// TensorFlow calls its roles. They are 0 to n-1, in this order.
type Conf map[string][]int

var roleName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// ParseConf reads a conf. The error is of kind E_SPEC and says what to write.
func ParseConf(text []byte) (Conf, error) {
	if len(text) > maxConf {
		return nil, refuse(fmt.Sprintf("has %d bytes, at most %d are read", len(text), maxConf))
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	var c Conf
	err := dec.Decode(&c)
	if err == nil && !errors.Is(dec.Decode(new(any)), io.EOF) {
		err = errors.New("something stands behind its end")
	}
	if err != nil {
		return nil, refuse("is not a JSON object of lists of numbers: " + err.Error())
	}
	return c, c.check()
}

// NewConf is the conf of so many tasks of each job. The error is of kind
// E_SPEC.
func NewConf(tasks map[string]int) (Conf, error) {
	c := Conf{}
	for job, n := range tasks {
		c[job] = []int{}
		for i := range max(0, min(n, jobspec.MaxGang+1)) {
			c[job] = append(c[job], i)
		}
	}
	return c, c.check()
}

// Roles is how many tasks each job has.
func (c Conf) Roles() map[string]int {
	roles := map[string]int{}
	for job, list := range c {
		roles[job] = len(list)
	}
	return roles
}

// Tasks returns the tasks of c in the order in which a gang numbers them.
func (c Conf) Tasks() []jobspec.GangTask { return c.gang().Tasks() }

// gang is c as the gang of a job.
func (c Conf) gang() jobspec.Gang { return jobspec.Gang{Roles: c.Roles()} }

// Encode returns the text of c, a line.
func (c Conf) Encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // a map of lists of numbers
	}
	return append(b, '\n')
}

func (c Conf) check() error {
	if len(c) == 0 {
		return refuse("names no job")
	}
	total := 0
	for _, job := range slices.Sorted(maps.Keys(c)) {
		if !roleName.MatchString(job) {
			return refuse(fmt.Sprintf("%.40q: a job's name begins with a-z and has up to 32 of a-z, 0-9 and '-'", job))
		}
		if len(c[job]) == 0 {
			return refuse(job + " has no task")
		}
		for i, index := range c[job] {
			if index != i {
				return refuse(fmt.Sprintf("%s[%d] is %d: the indices of a job are 0 to %d, in this order", job, i, index, len(c[job])-1))
			}
		}
		total += len(c[job])
	}
	if total > jobspec.MaxGang {
		return refuse(fmt.Sprintf("has %d tasks in all, at most %d run as one cluster", total, jobspec.MaxGang))
	}
	return nil
}

func refuse(detail string) error {
	return jobspec.Failure{
		Kind: jobspec.KindSpec, Where: ConfFile, Detail: detail,
		Hint: `write it as {"local": [0, 1]} or {"ps": [0], "worker": [0, 1]}, or have it written: ipdc tf spec --ps 1 --worker 2`,
	}.Error()
}
