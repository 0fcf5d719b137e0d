// Package guest is what the sidecar and ipdc-guest, the small program that is
// the entrypoint of every container, tell each other: a task goes in as one
// JSON file, a report comes out as a file of JSON lines.
//
//	b, err := json.Marshal(guest.Task{Command: argv, Feed: guest.FeedStdin, Items: items})
//	// ... mounted at guest.TaskFile; the container runs guest.Binary ...
//	batch, err := guest.Tail(reportFile, 0, guest.Limits{})
//	for _, line := range batch.Lines { ... }
//	batch, err = guest.Tail(reportFile, batch.Offset, guest.Limits{})
//
// Invariants: the report is written by the untrusted program's own user, so it
// is a claim, good for progress and for explaining a failure; the exit code
// that the engine gives is the truth. Tail returns only lines that are well
// formed and within their bounds, blocks on nothing and follows no link.
//
// The package imports nothing but the standard library, because ipdc-guest is
// mounted into every container and has to be small.
package guest

import (
	"fmt"
	"io/fs"
	"strings"
	"unicode"
)

// The places in a container.
const (
	Binary     = "/ipdc/guest"            // this program's binary, read-only
	TaskFile   = "/ipdc/task.json"        // a Task, read-only
	ReportDir  = "/ipdc/report"           // writable; on the same bounded volume as Outputs
	ReportFile = ReportDir + "/" + Report // JSON lines, see Line
	Code       = "/code"                  // the job's code, read-only
	Inputs     = "/inputs"                // the shard, read-only
	InputsCAR  = "/inputs.car"            // the shard as one file, in place of Inputs
	Outputs    = "/outputs"               // becomes the task's result

	PeersDir = "/ipdc/peers" // holds PeersSocket; there in a gang only

	Checkpoint  = "/checkpoint" // the gang's newest checkpoint, read-only; empty before the first
	Checkpoints = "checkpoints" // directory in Outputs of a gang's finished checkpoints

	NetDir = "/ipdc/net"    // holds ProxySocket; there only where a network is granted
	CAFile = "/ipdc/ca.pem" // the host's certificate authorities; there with NetDir
)

// ProxySocket in NetDir is the socket of the proxy that leads out of the
// container; ProxyAddress is where the guest offers it to programs.
const (
	ProxySocket  = "proxy.sock"
	ProxyAddress = "127.0.0.1:3128"
)

// PeersSocket in PeersDir is the sidecar's socket that leads to the other tasks
// of the gang.
const PeersSocket = "peers.sock"

// Names in ReportDir.
const (
	Report  = "report.jsonl"
	Spill   = "spill"   // directory of what map and reduce put aside
	Reserve = "reserve" // ReserveSize bytes, removed to report that the volume is full
)

// ReserveSize is the size of the reserve file in bytes.
const ReserveSize = 64 << 10

// Environment variables that the guest sets for the program.
const (
	EnvInputs  = "IPDC_INPUTS"  // always: the directory of the inputs
	EnvOutputs = "IPDC_OUTPUTS" // always: the directory of the outputs
	EnvItem    = "IPDC_ITEM"    // feed stdin: path of the item below the inputs
	EnvTask    = "IPDC_TASK"    // feed list: the task file; in a gang: the task's name
	EnvReport  = "IPDC_REPORT"  // feed list: the report file, to append Lines to

	EnvPeers      = "IPDC_PEERS"      // a gang's task: JSON, by role the "NAME:PORT" of its tasks; EnvTask is its own name there
	EnvCheckpoint = "IPDC_CHECKPOINT" // a gang's task: the directory of the newest checkpoint
	EnvPeerPort   = "IPDC_PORT"       // likewise: the port that the program is to listen on

	EnvUnfinished = "IPDC_UNFINISHED" // map-reduce with frames: a file that the program removes when all is written
)

// Exit codes that the guest itself adds to those of the program.
const (
	ExitGuest    = 125 // the guest could not do its work
	ExitNoExec   = 126 // the command was found but cannot be run
	ExitNotFound = 127 // the command was not found
	ExitSignal   = 128 // plus n: the program ended by signal n, or the guest was asked to end by it
)

// Task is what one container does.
type Task struct {
	Command   []string `json:"command"`              // argv; a name without slash is looked up in PATH
	Feed      Feed     `json:"feed,omitempty"`       // how the command gets its items
	KeepGoing bool     `json:"keep_going,omitempty"` // an item's failure does not end the batch
	Memory    int64    `json:"memory,omitempty"`     // the container's limit in bytes; 0 = not told
	CPU       int64    `json:"cpu,omitempty"`        // the container's limit in thousandths of a processor; 0 = not told
	Retries   int      `json:"retries,omitempty"`    // how often an item that failed is tried again, behind the others; see Pause
	Items     []Item   `json:"items,omitempty"`      // in the order in which they are run

	// Of a gang's task: all tasks of the gang, in their order, and which of
	// them it is. Another one's port leads to that one, by way of PeersSocket.
	Peers []Peer `json:"peers,omitempty"`
	Self  int    `json:"self,omitempty"`
}

// Peer is a task of a gang.
type Peer struct {
	Name string `json:"name"` // "worker-0", which is 127.0.0.1 in each container
	Port int    `json:"port"` // that its program listens on, 1024 to 65535
}

// Feed says how the command gets its items.
type Feed string

// The values of Feed.
const (
	FeedNone  Feed = ""      // the command is run once and knows no items
	FeedStdin Feed = "stdin" // run once per item, item on stdin, output from stdout
	FeedList  Feed = "list"  // run once; reads the Task and appends to the report
)

// Item is one input file.
type Item struct {
	Path string `json:"path"` // below Inputs, see ValidPath
	Size int64  `json:"size"` // bytes
}

// Validate reports the first thing that makes t unusable.
func (t Task) Validate() error {
	if len(t.Command) == 0 || t.Command[0] == "" {
		return fmt.Errorf("task has no command")
	}
	switch t.Feed {
	case FeedNone, FeedStdin, FeedList:
	default:
		return fmt.Errorf("task has unknown feed %q", t.Feed)
	}
	if len(t.Peers) > 0 && (t.Self < 0 || t.Self >= len(t.Peers)) {
		return fmt.Errorf("task is number %d of %d peers", t.Self, len(t.Peers))
	}
	for i, p := range t.Peers {
		if p.Name == "" || p.Port < 1024 || p.Port > 65535 {
			return fmt.Errorf("peer %d is %q at port %d", i, p.Name, p.Port)
		}
	}
	for i, it := range t.Items {
		if !ValidPath(it.Path) {
			return fmt.Errorf("item %d has path %q", i, it.Path)
		}
	}
	return nil
}

// MaxPath is the length of the longest path in bytes (Linux PATH_MAX).
const MaxPath = 4096

// ValidPath reports whether p is a clean relative path to a file: valid UTF-8
// of at most MaxPath bytes, slash-separated, without empty, "." and ".."
// elements and without control characters.
func ValidPath(p string) bool {
	return len(p) <= MaxPath && p != "." && fs.ValidPath(p) && strings.IndexFunc(p, unicode.IsControl) < 0
}
