package tensorflow

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"strconv"

	"github.com/ipdc/ipdc/jobspec"
)

// Cluster is what ClusterSpec.json says: where a program of the user's own
// reaches the tasks, while ipdc tf forward runs.
type Cluster struct {
	// Spec has the host:port of each task of each job, in the order of its
	// indices, as tf.train.ClusterSpec takes them.
	Spec map[string][]string `json:"ClusterSpec"`
	// Index is the index of each host:port within its job.
	Index map[string]int `json:"TaskIndex"`
	// ID tells this cluster from all others; its job has it as a label.
	ID string `json:"Cluster"`
	// Unstarted says that no job of it was ever asked for from this file; ipdc tf up
	// takes it away before it asks for one. A copy of the file, or an older ipdc,
	// may have asked all the same.
	Unstarted bool `json:"Unstarted,omitempty"`
}

// Task is a task of a cluster.
type Task struct {
	Name string // "worker-0"
	Addr string // "127.0.0.1:43210", where it is forwarded to
}

// NewCluster gives each task of conf one of ports, of which there are as many. It
// is unstarted.
func NewCluster(conf Conf, ports []int) Cluster {
	c := Cluster{Spec: map[string][]string{}, Index: map[string]int{}, ID: rand.Text(), Unstarted: true}
	for i, t := range conf.Tasks() {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))
		c.Index[addr] = len(c.Spec[t.Role])
		c.Spec[t.Role] = append(c.Spec[t.Role], addr)
	}
	return c
}

// ParseCluster reads what [Cluster.Encode] wrote.
func ParseCluster(text []byte) (Cluster, error) {
	var c Cluster
	err := json.Unmarshal(text, &c)
	if err == nil {
		err = c.Conf().check()
	}
	if err == nil && c.ID == "" {
		err = fmt.Errorf("it names no Cluster")
	}
	if err != nil {
		return c, jobspec.Failure{
			Kind: jobspec.KindSpec, Where: ClusterFile, Detail: "is not as ipdc tf spec wrote it: " + err.Error(),
			Hint: "remove it and have it written again: ipdc tf spec",
		}.Error()
	}
	return c, nil
}

// Encode returns the text of c.
func (c Cluster) Encode() []byte {
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		panic(err) // maps and texts
	}
	return append(b, '\n')
}

// Conf is the conf that c was made of.
func (c Cluster) Conf() Conf {
	conf := Conf{}
	for job, list := range c.Spec {
		for i := range list {
			conf[job] = append(conf[job], i)
		}
	}
	return conf
}

// Tasks returns the tasks of c, in the order of its gang's.
func (c Cluster) Tasks() (list []Task) {
	next := map[string]int{}
	for _, t := range c.Conf().Tasks() {
		list = append(list, Task{Name: t.Name, Addr: c.Spec[t.Role][next[t.Role]]})
		next[t.Role]++
	}
	return list
}
