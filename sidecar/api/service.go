package api

import (
	"context"
	"slices"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/wire"
)

// Service is what the API serves: the sidecar. A ref is a job id, a unique
// prefix of one, a job name, or @last. Errors carry a jobspec kind; a ref of
// another tenant is E_NOT_FOUND. Job outcomes are data in wire.Job, never
// errors.
type Service interface {
	ImageService
	// Submit validates and stores a spec; it returns after fsync. With an
	// idempotency key that was used before, the same spec returns the first
	// job with created false, another spec fails with E_DUP_KEY.
	Submit(ctx context.Context, s Submission) (job wire.Job, created bool, err error)
	// Plan says what Submit of the same would do, and does none of it.
	Plan(ctx context.Context, s Submission) (wire.Plan, error)
	Job(ctx context.Context, tenant, ref string) (wire.Job, error)
	// Jobs lists a tenant's jobs, or everybody's for [AllTenants].
	Jobs(ctx context.Context, tenant string, f JobFilter) ([]wire.Job, error)
	// Stop asks a job to end; the wish is durable when Stop returns. A job
	// that is final is returned as it is.
	Stop(ctx context.Context, tenant, ref string) (wire.Job, error)
	// Remove deletes a final job's record, logs and pins. E_CONFLICT while it
	// is not final.
	Remove(ctx context.Context, tenant, ref string) error
	// Prune removes final jobs as Remove does, or says which ones it would.
	Prune(ctx context.Context, tenant string, f PruneFilter) (wire.Pruned, error)
	// Merge merges the outputs of a final job's tasks; its state stays.
	// E_CONFLICT when some are missing, E_DUP_NAME when they clash.
	Merge(ctx context.Context, tenant, ref string, how jobspec.Merge) (wire.Merging, error)
	// Publish has a job's result sent to outlets, or what has failed tried
	// again, and returns all deliveries of the job. E_POLICY where the node
	// does not permit it, E_CONFLICT when there is nothing to send.
	Publish(ctx context.Context, tenant, ref string, to []string) (wire.Deliveries, error)
	// Events calls yield for each event with Seq > after, in order. With
	// follow it goes on until the job is final or ctx ends, else it returns at
	// the last one. It stops early when yield returns an error, and returns it.
	// yield waits for a slow reader: it is called without a lock held.
	Events(ctx context.Context, tenant, ref string, after int64, follow bool, yield func(jobspec.Event) error) error
	// LogEvents yields the job's log behind a place, in an order that stays
	// the same. task is the number or the name of a task, "" for all of them.
	// The first piece is empty: it says that there is a log to come.
	// follow and yield are as for Events.
	LogEvents(ctx context.Context, tenant, ref, task string, after LogPlace, follow bool, yield func(LogPiece) error) error
	// Items yields how each item of the job behind a place ended so far, in an
	// order that stays the same. yield is as for Events.
	Items(ctx context.Context, tenant, ref string, after ItemPlace, yield func(wire.Item) error) error
	// DialTask opens a stream of frames to a task of a gang that runs now,
	// wherever that is. E_CONFLICT when it or its program is not there.
	DialTask(ctx context.Context, tenant, ref, task string) (*peering.Stream, error)
	Node(ctx context.Context) (wire.Node, error)
	GC(ctx context.Context) (wire.Collected, error)
	// Replicate keeps what is pinned under a name on so many nodes in all from
	// now on, and returns when it is, as far as others have room for it.
	Replicate(ctx context.Context, pin string, root jobspec.CID, nodes int) (wire.Replicas, error)
	// Replicas says who holds what is pinned here, too, by the names of pins.
	Replicas(ctx context.Context) (map[string]wire.Replicas, error)
	// Drain makes the node take nothing new and hand over what it has, or ends
	// that; Drained says how far it is.
	Drain(ctx context.Context, w wire.DrainWish) (wire.Drain, error)
	Drained(ctx context.Context) (wire.Drain, error)
	// Shutdown asks the node to stop; jobs in containers go on.
	Shutdown()
}

// Errands are the jobs that other members of the domain have taken from this
// node's tenants.
type Errands interface {
	// HandOver gives a job to a member, by its id, the beginning or end of it,
	// its label name, or [AnyMember]. It is on the member's disk when HandOver
	// returns. A key as of Submit. Refusals are those of the member.
	HandOver(ctx context.Context, to string, s Submission) (job wire.Job, created bool, err error)
	// Handed says whether ref means such a job.
	Handed(ctx context.Context, tenant, ref string) (h Handed, ok bool, err error)
	// Learn records what the member says of a job, for lists.
	Learn(ctx context.Context, h Handed, j wire.Job) error
	// Forget removes what this node knows of a job.
	Forget(ctx context.Context, h Handed) error
}

// AnyMember, in place of a member, is the one that could run most tasks of the
// job now.
const AnyMember = "any"

// Handed is a job that a member has.
type Handed struct {
	Tenant, Key string        // of the submit here
	Member      identity.ID   // whose job it is now
	Job         jobspec.JobID // there
}

// Submission is one submit.
type Submission struct {
	Tenant         string
	IdempotencyKey string // at most 128 printable ASCII characters; "" = none
	Spec           jobspec.Spec
	Fired          *jobspec.Fired // the instant that it is of, which gives the job its id
}

// JobFilter selects jobs. Zero values select all.
type JobFilter struct {
	States []jobspec.JobState
	Labels map[string]string // all must be equal
	// Dataset leaves those that are over it, with a version over that one.
	Dataset jobspec.DatasetRef
	All     bool // also those that a job needs, such as installations
	Limit   int  // default 100, at most 500
}

// Selects reports whether f, but for its limit, selects a job.
func (f JobFilter) Selects(j jobspec.Job) bool {
	for k, v := range f.Labels {
		if l, ok := j.Spec.Labels[k]; !ok || l != v {
			return false
		}
	}
	if d := f.Dataset; d.Name != "" && (j.Dataset == nil || j.Dataset.Name != d.Name || d.Version != 0 && j.Dataset.Version != d.Version) {
		return false
	}
	return len(f.States) == 0 || slices.Contains(f.States, j.State)
}
