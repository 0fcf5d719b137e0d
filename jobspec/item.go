package jobspec

// ItemEnd is how one item of a job ended, as far as it has. What its program
// said of itself, all but Path and State of an item that is not done, is a
// claim of the program's: what decides is the exit code of its task.
type ItemEnd struct {
	Path      string    `json:"path"`
	State     ItemState `json:"state"`
	ExitCode  int       `json:"exit_code"`            // of its last try
	Signal    int       `json:"signal,omitempty"`     // that ended its last try
	Error     string    `json:"error,omitempty"`      // why it failed, at most 1 KiB
	Stderr    string    `json:"stderr,omitempty"`     // the end of what its last try wrote there, at most 2 KiB
	StderrCut int64     `json:"stderr_cut,omitempty"` // bytes before that
	Tries     int       `json:"tries"`                // 0 = it was not run, or its program does not say
	Outputs   []string  `json:"outputs,omitempty"`    // files it made, below the result
	Task      int       `json:"task"`                 // index of its task
	Job       JobID     `json:"job,omitempty"`        // remembered: the job that ran it; "" = one of another tenant
}

// ItemState is how an item ended.
type ItemState string

// The states of an item.
const (
	ItemDone       ItemState = "done"
	ItemFailed     ItemState = "failed"
	ItemSkipped    ItemState = "skipped"    // its task ended before it came to an end of its own
	ItemRemembered ItemState = "remembered" // an earlier job has done it
	ItemOpen       ItemState = "open"       // its task has not ended
)
