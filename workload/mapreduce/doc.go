// Package mapreduce turns Python functions or streaming commands into the spec
// of a map-reduce job: a job of the stages map and reduce, and before them
// sample where keys are divided by range.
//
//	job := mapreduce.Job{K: 4, Map: mapreduce.File{Name: "Map.py", Source: text}, Reduce: ...}
//	p, err := job.Program()
//	// pack p.Code[i], a folder of files, and put its CID into p.Spec.Stages[i].Run.Code
//
// Invariants: what is run is decided from the texts alone, without running any
// of them; the same Job gives the same bytes, so that results can be remembered;
// a stage's code has only what the stage needs, so that another Reduce.py leaves
// the map tasks remembered. docs/mapreduce.md is the contract of the functions.
package mapreduce
