// Package tensorflow turns the description of a TensorFlow cluster into the
// spec of a gang job: a cluster that stays up, or a training script that each
// of its tasks runs.
//
//	conf, err := tensorflow.ParseConf(text)      // {"ps": [0], "worker": [0, 1]}
//	cluster, err := tensorflow.NewCluster(conf, ports)
//	job := tensorflow.Up(cluster, tensorflow.Worker()) // or tensorflow.Run(conf, script)
//	// store job.Code, a folder of files, and put its CID into job.Spec's run
//
// Invariants: a task's name is that of TensorFlow, "worker-0" for task 0 of job
// "worker"; TF_CONFIG is made inside each container, of what ipdc tells the
// task of its peers; nothing of where a cluster runs is in its spec.
// docs/tensorflow.md is for its users.
package tensorflow
