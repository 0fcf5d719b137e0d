package jobspec

// Version is the only value of Spec.Version.
const Version = "ipdc/v1"

// Spec is what a user submits. The zero value of each field means the default
// that [Spec.WithDefaults] fills in. JSON and YAML use the same names and are
// read by [Parse], which refuses unknown keys.
type Spec struct {
	Version   string            `json:"version"`            // always "ipdc/v1"
	Name      string            `json:"name,omitempty"`     // at most 128 printable runes; default none
	Labels    map[string]string `json:"labels,omitempty"`   // the user's own, for list --label
	Run       Run               `json:"run,omitzero"`       // the program; none where there are stages
	Inputs    []Input           `json:"inputs,omitempty"`   // at most one in this version; none runs the program once
	Split     Split             `json:"split,omitzero"`     // how inputs become tasks
	Gang      *Gang             `json:"gang,omitempty"`     // the tasks run at the same time and know each other; none where there are stages
	Merge     Merge             `json:"merge,omitzero"`     // how outputs become one; default union, concat for by: lines|bytes, shards for a gang
	Resources Resources         `json:"resources,omitzero"` // of one task
	Timeouts  Timeouts          `json:"timeouts,omitzero"`  //
	Retry     Retry             `json:"retry,omitzero"`     //
	Network   []string          `json:"network,omitempty"`  // host:port pairs that may be reached, at most 32; default none
	Isolation Isolation         `json:"isolation,omitzero"` // default standard
	Place     Place             `json:"place,omitzero"`     // which nodes may run it, and which first; default who holds the input
	Expose    []Exposure        `json:"expose,omitempty"`   // what the program is told of the run; default nothing
	Cache     Cache             `json:"cache,omitzero"`     // default use; off with a network, of gangs, and where exposed values change from run to run
	Keep      Duration          `json:"keep,omitempty"`     // how long result and record stay pinned; 0 = until removed
	// Replicate is how many nodes hold the result in all, the job's own one
	// included, as far as the domain has so many; 0 = [DefaultReplicate].
	Replicate int `json:"replicate,omitempty"`
	// Publish are outlets that get the files of the result once it is safe, as
	// [ParsePublish] reads them; Notify are those that are told of the job's
	// end, as [ParseNotify] does. At most [MaxOutlets] each; default none.
	Publish []string `json:"publish,omitempty"`
	Notify  []string `json:"notify,omitempty"`
	// Stages are the steps of a job of several, at most [MaxStages], in place of
	// Run and Split. Each reads the inputs or what an earlier one gave; the
	// outputs of the last one are the result. Default none.
	Stages []Stage `json:"stages,omitempty"`
}

// Run says what a task's container does.
type Run struct {
	Image     string            `json:"image"`                // stock name ("python", "shell"), reference, image id or image CID
	Command   []string          `json:"command"`              // argv, run as given after the fixed entrypoint
	Code      CID               `json:"code,omitzero"`        // directory mounted read-only at /code
	Env       map[string]string `json:"env,omitempty"`        // the program's environment; reserved names are refused
	Per       Per               `json:"per,omitempty"`        // default task
	Feed      Feed              `json:"feed,omitempty"`       // for per: item; default stdin
	KeepGoing bool              `json:"keep_going,omitempty"` // an item's failure does not fail the job

	// Requirements are the Python packages of the program: a requirements.txt,
	// or a directory with one, or with wheels (*.whl), which are then the only
	// source. They are installed once per job, for the job's image, and are on
	// the program's PYTHONPATH. Default none.
	Requirements CID `json:"requirements,omitzero"`
	// AllowBuild lets packages that have no wheel be built from their source,
	// which runs code of theirs at install time, in the sandbox.
	AllowBuild bool `json:"allow_build,omitempty"`
}

// Per says what the command is run for.
type Per string

// The values of Per.
const (
	PerTask Per = "task" // once per task, with /inputs and /outputs
	PerItem Per = "item" // for each file below /inputs
)

// Feed says how a per-item command gets its items.
type Feed string

// The values of Feed.
const (
	// FeedStdin starts the command once per item with the file on stdin;
	// its stdout becomes the output file of the same relative path.
	FeedStdin Feed = "stdin"
	// FeedList starts the command once per task. It reads the items and
	// reports each of them as docs/jobspec.md ("item protocol") says. The
	// Python harness is such a command.
	FeedList Feed = "list"
)

// Input is one DAG the program reads.
type Input struct {
	CID string `json:"cid,omitempty"` // CID, CID/path, /ipfs/CID/path or ipfs://CID/path
	At  string `json:"at,omitempty"`  // mount point: /inputs for files, /inputs.car for a CAR
	As  As     `json:"as,omitempty"`  // default files

	// Dataset is NAME or NAME@VERSION, in place of a CID, which the node fills in
	// when it takes the job; a spec that has both was resolved before.
	Dataset string `json:"dataset,omitempty"`
	// OnlyNew leaves out the entries of the dataset that the program was run over
	// in an earlier version.
	OnlyNew bool `json:"only_new,omitempty"`
	// Since is a directory whose entries are left out of the input's, as far as
	// name and CID are the same. OnlyNew sets it.
	Since CID `json:"since,omitzero"`
}

// As says how an input is shown to the program.
type As string

// The values of As.
const (
	AsFiles As = "files" // a read-only directory tree; the input is UnixFS
	AsCAR   As = "car"   // one CARv1 file with every block of the DAG, of any codec
)

// Split says how inputs become tasks.
type Split struct {
	By SplitBy `json:"by,omitempty"` // default auto
	// Into asks for so many shards of about the same size, with by: size,
	// lines or bytes; there are fewer where files, lines or records are too
	// few. 0 = as Size says. With by: auto and per: item it is the number of
	// batches of items; 0 = as the nodes have slots.
	Into int `json:"into,omitempty"`
	// Size is what each shard aims at, with by: size, lines or bytes; default
	// 64MiB unless Into is given.
	Size Bytes `json:"size,omitempty"`
	// Record is the length of a record, with by: bytes, which needs it. Only a
	// file's last record may be shorter.
	Record Bytes `json:"record,omitempty"`
	// Sample asks for one shard that shows what is in the input, in place of
	// shards with all of it: at most so many pieces of about Size, spread evenly
	// over its bytes, each at NUMBER/PATH, with by: size, lines or bytes and per:
	// task. 0 = all of the input.
	Sample int `json:"sample,omitempty"`
	// Offsets tells tasks at which offset of its file each piece begins, with
	// by: lines or bytes: the shard lies at /inputs/data then, and the file
	// /inputs/offsets has a line "OFFSET PATH" for each piece that does not
	// begin at 0.
	Offsets bool `json:"offsets,omitempty"`
}

// Shards says whether s asks for shards, which are directories of their own.
func (s Split) Shards() bool { return s.By == SplitEntries || s.By == SplitCAR || s.sized() }

// sized says whether Into or Size say how many shards there are.
func (s Split) sized() bool { return s.By == SplitSize || s.Cuts() }

// Cuts says whether s asks for shards that may hold pieces of files.
func (s Split) Cuts() bool { return s.By == SplitLines || s.By == SplitBytes }

// SplitBy is a way of splitting.
type SplitBy string

// The values of SplitBy.
const (
	SplitAuto SplitBy = "auto" // per item: batches of items; per task: one task
	SplitNone SplitBy = "none" // one task

	SplitSize  SplitBy = "size"  // a task for each shard of whole files
	SplitLines SplitBy = "lines" // likewise, and large files are cut behind line ends
	SplitBytes SplitBy = "bytes" // likewise, and large files are cut between records of one length

	SplitEntries SplitBy = "entries" // a task for each file or directory at the top of the input
	SplitCAR     SplitBy = "car"     // a task for each sector: what stands under a name that ends in .car
)

// Merge says how the outputs of all tasks become one directory.
type Merge string

// The values of Merge.
const (
	MergeUnion  Merge = "union"  // one tree; the same name with another CID is a clash
	MergeShards Merge = "shards" // one folder per task, named by its index; of a gang by its task's name
	MergeConcat Merge = "concat" // one tree; files of one name are put behind each other, in the order of tasks
	MergeNone   Merge = "none"   // the outputs as they are; of job merge, not of a spec
)

// Resources are what one task may use; they are hard limits.
type Resources struct {
	CPU    CPU   `json:"cpu,omitempty"`    // default 1
	Memory Bytes `json:"memory,omitempty"` // default 512MiB; swap is not added
	Disk   Bytes `json:"disk,omitempty"`   // size of /outputs; default 1GiB
	GPU    int   `json:"gpu,omitempty"`    // graphics processors; default 0
}

// Timeouts bound a job's time.
type Timeouts struct {
	// Run is of one attempt's container; default 15m. A job with a gang may have
	// [NoLimit] here and in Total.
	Run   Duration `json:"run,omitempty"`
	Total Duration `json:"total,omitempty"` // of the job from acceptance; default 2h, NoLimit where Run is
}

// Retry says when a task gets another attempt.
type Retry struct {
	Attempts int    `json:"attempts,omitempty"` // in all, 1 to 10; default 3
	On       []Kind `json:"on,omitempty"`       // kinds that are retried; default [lost]
	// Items is how often an item that failed is tried again within its task,
	// behind the task's other items, 0 to 10; default 0. With per: item only.
	Items int `json:"items,omitempty"`
}

// Isolation is the kind of wall between a program and the host.
type Isolation string

// The values of Isolation.
const (
	IsolationStandard Isolation = "standard" // a container of the engine's default runtime
	IsolationStrict   Isolation = "strict"   // a container with a kernel of its own, such as gVisor's
)

// Cache says whether remembered results are used.
type Cache string

// The values of Cache.
const (
	CacheUse     Cache = "use"     // use and remember
	CacheRefresh Cache = "refresh" // run again, remember
	CacheOff     Cache = "off"     // neither
)
