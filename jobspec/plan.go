package jobspec

// Plan is what the owner resolved once for the whole job. Workers resolve
// nothing themselves. It is written once and never changed; the tasks of later
// stages are added behind the others.
type Plan struct {
	SpecCID CID     `json:"spec_cid"`
	Image   ImageID `json:"image"`          // config digest
	Arch    string  `json:"arch"`           // of the image: "amd64"
	Input   CID     `json:"input,omitzero"` // the resolved root; a lone file is wrapped in a directory
	As      As      `json:"as,omitempty"`   // how it is shown; "" = files
	Tasks   []Task  `json:"tasks"`

	Dependencies CID      `json:"dependencies,omitzero"` // directory of installed packages
	Packages     []string `json:"packages,omitempty"`    // what it holds: "numpy==2.4.1", sorted

	// Stages are those of a spec with stages, all of them, in order. What stands
	// above for the job as a whole stands there for each.
	Stages []PlanStage `json:"stages,omitempty"`
	// Kept are the tasks that earlier jobs have done, by index; they are not
	// among Tasks.
	Kept []KeptTask `json:"kept,omitempty"`
}

// Task is what one container does. A task of items sees the whole input but
// may read its own items only: another batch would give it other neighbours.
type Task struct {
	Stage int    `json:"stage,omitempty"` // of the spec's stages; 0 without any
	Index int    `json:"index"`           // position among all tasks of the job, those that are remembered included
	Key   CID    `json:"key"`             // same key, same output
	Shard CID    `json:"shard,omitzero"`  // shown at /inputs, or as /inputs.car; undefined = an empty directory
	Items []Item `json:"items,omitempty"` // per: item only
	Bytes int64  `json:"bytes"`           // of file content the task reads
	Name  string `json:"name,omitempty"`  // of a gang's task, see [GangTask]

	// Of a spec that exposes its shard: how many tasks the job has, and what
	// the paths of the task's files begin with, see [CommonPath].
	Count int    `json:"count,omitempty"`
	Path  string `json:"path,omitempty"`

	// Holder is the peer id of the member that holds most of the input, which
	// is where the task goes first; "" = the owner.
	Holder string `json:"holder,omitempty"`
}

// Item is one file that a per-item command is run for.
type Item struct {
	Path string `json:"path"` // below /inputs, slash-separated
	CID  CID    `json:"cid"`  // of the file
	Size int64  `json:"size"` // bytes
	Key  CID    `json:"key"`
}

// Shard is a part of an input, a directory of its own.
type Shard struct {
	CID   CID    `json:"cid"`
	Bytes int64  `json:"bytes"`           // of file content
	Items []Item `json:"items,omitempty"` // its files in byte order of path, keys not set; only for per: item

	Holder string `json:"holder,omitempty"` // see Task
	Path   string `json:"path,omitempty"`   // see Task; of a shard with Items theirs is taken
}

// Facts are what the preparer found out for a spec; with the spec they
// determine the plan.
type Facts struct {
	SpecCID CID     `json:"spec_cid"`
	Image   ImageID `json:"image"`
	Arch    string  `json:"arch"`
	Input   CID     `json:"input,omitzero"`   // directory root; undefined for a job without inputs
	Bytes   int64   `json:"bytes"`            // of all files below Input
	Items   []Item  `json:"items,omitempty"`  // every file below Input in byte order of path, keys not set; only for per: item without shards
	Shards  []Shard `json:"shards,omitempty"` // in order; where the spec asks for shards, and of a stage whose tasks see more, or less, than Input
	Slots   int     `json:"slots"`            // tasks of this spec that the node can run at once, at least 1

	Dependencies CID      `json:"dependencies,omitzero"` // of a spec with requirements
	Packages     []string `json:"packages,omitempty"`
}
