package jobspec

import "slices"

// JobState is where a job stands. A state is written once what it names is
// durable; the work that leads to the next state is idempotent, so that a node
// that was killed goes on from the state it finds.
type JobState string

// The job states.
const (
	// JobAccepted: the spec is on disk and its submitter has an id. The
	// preparer moves it out.
	JobAccepted JobState = "accepted"
	// JobQueued: names are resolved, the plan is on disk, inputs are pinned.
	// The placer moves it out when the first attempt gets its lease.
	JobQueued JobState = "queued"
	// JobRunning: at least one attempt has been leased. The publisher moves
	// it out when each task is done, or the runner when one has failed for good.
	JobRunning JobState = "running"
	// JobPublishing: every task is done; outputs are being merged.
	JobPublishing JobState = "publishing"
	// JobPublished: the result is merged, pinned and recorded. The publisher
	// verifies every block of it and then moves the job to succeeded.
	JobPublished JobState = "published"
	// JobSucceeded, JobFailed and JobStopped are final.
	JobSucceeded JobState = "succeeded"
	JobFailed    JobState = "failed"
	JobStopped   JobState = "stopped"
)

var jobNext = map[JobState][]JobState{
	JobAccepted:   {JobQueued, JobFailed, JobStopped},
	JobQueued:     {JobRunning, JobPublishing, JobFailed, JobStopped},
	JobRunning:    {JobPublishing, JobFailed, JobStopped},
	JobPublishing: {JobPublished, JobFailed, JobStopped},
	JobPublished:  {JobSucceeded, JobFailed},
}

// Final reports whether s is never left.
func (s JobState) Final() bool { return s == JobSucceeded || s == JobFailed || s == JobStopped }

// To returns next when s may become it, else an error of kind E_CONFLICT.
func (s JobState) To(next JobState) (JobState, error) {
	if slices.Contains(jobNext[s], next) {
		return next, nil
	}
	return s, KindConflict.Errorf("a job that is %s cannot become %s", s, next)
}

// AttemptState is how far an attempt has come. As with jobs, a state is
// written once what it names is durable.
type AttemptState string

// The attempt states, in their order.
const (
	AttemptLeased    AttemptState = "leased"    // resources and token are reserved
	AttemptStaged    AttemptState = "staged"    // code and inputs are in the input cache
	AttemptImage     AttemptState = "image"     // the engine has the image; the outputs volume is mounted
	AttemptCreated   AttemptState = "created"   // the container exists and its id is known
	AttemptRunning   AttemptState = "running"   // the container was started
	AttemptExited    AttemptState = "exited"    // no process of it is left; its exit is recorded
	AttemptPackaged  AttemptState = "packaged"  // /outputs is a DAG, stored and pinned
	AttemptRecorded  AttemptState = "recorded"  // the signed receipt is in the job's record
	AttemptCleaned   AttemptState = "cleaned"   // final: container, volume and directories are gone
	AttemptAbandoned AttemptState = "abandoned" // final: revoked or lost; cleaned without a report
)

var attemptOrder = []AttemptState{
	AttemptLeased, AttemptStaged, AttemptImage, AttemptCreated, AttemptRunning,
	AttemptExited, AttemptPackaged, AttemptRecorded, AttemptCleaned,
}

// AttemptStates returns the states of an attempt in order, abandoned left out.
func AttemptStates() []AttemptState { return slices.Clone(attemptOrder) }

// Final reports whether s is never left.
func (s AttemptState) Final() bool { return s == AttemptCleaned || s == AttemptAbandoned }

// To returns next when s may become it: the next state in order, abandoned
// from any state that is not final, or recorded from leased, when another node
// has done all that lies between. Otherwise the error is of kind E_CONFLICT.
func (s AttemptState) To(next AttemptState) (AttemptState, error) {
	i := slices.Index(attemptOrder, s)
	if !s.Final() && next == AttemptAbandoned || s == AttemptLeased && next == AttemptRecorded {
		return next, nil
	}
	if i >= 0 && i+1 < len(attemptOrder) && attemptOrder[i+1] == next {
		return next, nil
	}
	return s, KindConflict.Errorf("an attempt that is %s cannot become %s", s, next)
}
