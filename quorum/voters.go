package quorum

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/wire"
)

// replaceAfter is how many leases a keeper may be silent while another member
// could take its place.
const replaceAfter = 10

// tendVoters makes one change, if one is due, of who keeps the record: nobody
// who was revoked; three, or five where as many live; the oldest members first;
// and one that is gone for long only while there is nobody in its place.
func (q *Quorum) tendVoters(ctx context.Context, k *keeper) {
	v := k.view()
	live := q.lively()
	add, remove := q.change(v.Voters, live)
	var err error
	switch {
	case remove != "":
		err = k.remove(ctx, remove)
	case add != "":
		err = k.pending.settled(ctx, func() raft.Future {
			return k.AddVoter(raft.ServerID(add), raft.ServerAddress(add), 0, applyFor)
		})
	default:
		return
	}
	q.note(k.view())
	q.log.Info("keepers change", "add", add, "remove", remove, "before", len(v.Voters), "live", len(live), "err", err)
}

// remove makes a member no keeper.
func (k *keeper) remove(ctx context.Context, id identity.ID) error {
	return k.pending.settled(ctx, func() raft.Future { return k.RemoveServer(raft.ServerID(id), 0, applyFor) })
}

// leave takes a member out that goes.
func (q *Quorum) leave(ctx context.Context, k *keeper, id identity.ID, joined int64) error {
	if err := q.parts(id, joined); err != nil {
		return err
	}
	if !slices.Contains(k.view().Voters, id) {
		return nil
	}
	if err := k.remove(ctx, id); err != nil {
		return fmt.Errorf("%w: %w", errNotLeader, err)
	}
	return nil
}

// parts notes that a member goes. Joined, 0 = it did not say, tells its signs of
// life from those that it gives when it is a member again.
func (q *Quorum) parts(id identity.ID, joined int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reign.seen == nil {
		return errNotLeader
	}
	q.reign.left[id] = cmp.Or(joined, q.reign.seen[id].joined)
	delete(q.reign.seen, id)
	return nil
}

// change says who is to become a keeper, or to be none any more.
func (q *Quorum) change(voters []identity.ID, live map[identity.ID]int64) (add, remove identity.ID) {
	gone := ""
	for _, id := range voters {
		if q.cfg.Revoked(id) {
			return "", id
		}
		if q.silent(id, replaceAfter*q.cfg.Lease) && id != q.cfg.Self {
			gone = string(id)
		}
	}
	want := wire.MinKeepers
	if len(live) >= wire.MaxKeepers {
		want = wire.MaxKeepers
	}
	var able []identity.ID
	for _, id := range slices.Collect(maps.Keys(live)) {
		if !slices.Contains(voters, id) {
			able = append(able, id)
		}
	}
	slices.SortFunc(able, func(a, b identity.ID) int { return cmp.Or(cmp.Compare(live[a], live[b]), cmp.Compare(a, b)) })
	switch {
	case len(voters) > want && gone != "":
		return "", identity.ID(gone)
	case len(able) > 0 && (len(voters) < want || gone != "" && len(voters) == want):
		return able[0], ""
	}
	return "", ""
}

// maxConsult is how many members are asked before the record is recovered.
const maxConsult = 32

// recover makes those who are left the only keepers when so many were revoked
// that the others are no majority. Revoked members are cut off from all others,
// so no second majority can decide anything. A copy that was away may be of
// keepers of long ago: the newest ones count that anybody knows of.
func (q *Quorum) recover(ctx context.Context, k *keeper) {
	v := k.view()
	q.mu.Lock()
	v = newest(v, q.is)
	orphan := q.orphaned(k, v)
	q.mu.Unlock()
	if !orphan {
		return
	}
	v = q.consult(ctx, v)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.orphan = time.Time{}
	left := q.remnant(v)
	if len(left) == 0 || q.keeper != k || q.closed {
		return
	}
	q.log.Warn("most keepers were revoked: the others go on without them", "before", len(v.Voters), "left", len(left))
	if err := k.close(); err != nil {
		q.log.Warn("close the record", "err", err)
	}
	q.keeper = nil
	if err := q.openCopyLocked(left); err != nil {
		q.log.Error("the record of jobs cannot be opened", "err", err)
	}
}

// orphaned reports whether the copy has had no leader for long, and can have
// none by v. It is called with the lock held.
func (q *Quorum) orphaned(k *keeper, v view) bool {
	if _, leader := k.LeaderWithID(); leader != "" || len(q.remnant(v)) == 0 || q.closed {
		q.orphan = time.Time{}
		return false
	}
	if q.orphan.IsZero() {
		q.orphan = time.Now()
	}
	return time.Since(q.orphan) >= 4*q.pulse()
}

// remnant are the keepers that were not revoked, if they are no majority and
// this node is one of them.
func (q *Quorum) remnant(v view) (left []identity.ID) {
	for _, id := range v.Voters {
		if !q.cfg.Revoked(id) {
			left = append(left, id)
		}
	}
	if len(left) >= len(v.Voters)/2+1 || !slices.Contains(left, q.cfg.Self) {
		return nil
	}
	return left
}

// consult asks the members that live who the keepers are, and returns the newest
// answer, or v.
func (q *Quorum) consult(ctx context.Context, v view) view {
	ctx, cancel := context.WithTimeout(ctx, max(q.pulse(), time.Second))
	defer cancel()
	live := q.cfg.Live()
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, id := range live[:min(len(live), maxConsult)] {
		asked.Go(func() {
			a, err := q.ask(ctx, id, call{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				v = newest(v, a.View)
			}
		})
	}
	asked.Wait()
	return v
}

// newest is w if it is newer than v and says something.
func newest(v, w view) view {
	if len(w.Voters) > 0 && w.compare(v) > 0 {
		return w
	}
	return v
}
