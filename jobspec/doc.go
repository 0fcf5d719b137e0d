// Package jobspec is the domain model of ipdc: what a job is, what it may
// become, and how it can fail. It does no I/O and knows no adapter.
//
//	spec, err := jobspec.Parse(yamlOrJSON)       // strict; all problems at once
//	spec = spec.WithDefaults()                   // every field has a value
//	c, err := spec.CID()                         // dag-cbor, integers in base units
//	plan, err := jobspec.NewPlan(spec, resolved) // pure: items, batches, keys
//	state, err := job.State.To(jobspec.JobRunning)
//
// Invariants: a Spec that Validate accepts can be run by some node; a key is a
// function of everything the program can see and of nothing else; a final
// state is never left.
package jobspec
