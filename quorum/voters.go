package quorum

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
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
func (q *Quorum) tendVoters(k *keeper) {
	v := k.view()
	live := q.lively()
	add, remove := q.change(v.Voters, live)
	var err error
	switch {
	case remove != "":
		err = k.RemoveServer(raft.ServerID(remove), 0, applyFor).Error()
	case add != "":
		err = k.AddVoter(raft.ServerID(add), raft.ServerAddress(add), 0, applyFor).Error()
	default:
		return
	}
	q.note(k.view())
	q.log.Info("keepers change", "add", add, "remove", remove, "before", len(v.Voters), "live", len(live), "err", err)
}

// leave takes a member out that goes.
func (q *Quorum) leave(k *keeper, id identity.ID) error {
	q.mu.Lock()
	delete(q.reign.seen, id)
	q.mu.Unlock()
	if !slices.Contains(k.view().Voters, id) {
		return nil
	}
	if err := k.RemoveServer(raft.ServerID(id), 0, applyFor).Error(); err != nil {
		return fmt.Errorf("%w: %w", errNotLeader, err)
	}
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

// recover makes those who are left the only keepers when so many were revoked
// that the others are no majority. Revoked members are cut off from all others,
// so no second majority can decide anything.
func (q *Quorum) recover(k *keeper) {
	v := k.view()
	var left []identity.ID
	for _, id := range v.Voters {
		if !q.cfg.Revoked(id) {
			left = append(left, id)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if v.Leader != "" || len(left) == 0 || len(left) >= len(v.Voters)/2+1 || !slices.Contains(left, q.cfg.Self) || q.closed {
		q.orphan = time.Time{}
		return
	}
	if q.orphan.IsZero() {
		q.orphan = time.Now()
	}
	if time.Since(q.orphan) < 4*q.pulse() {
		return
	}
	q.log.Warn("most keepers were revoked: the others go on without them", "before", len(v.Voters), "left", len(left))
	if err := k.close(); err != nil {
		q.log.Warn("close the record", "err", err)
	}
	q.keeper, q.orphan = nil, time.Time{}
	if err := q.openCopyLocked(left); err != nil {
		q.log.Error("the record of jobs cannot be opened", "err", err)
	}
}
