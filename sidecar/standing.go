package sidecar

import (
	"maps"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// standing is the place in this node's line of a gang. That of another member
// counts from when it first asked here: the id of its job says when the job
// began by that member's word alone. It is kept from round to round, so that
// later jobs do not go ahead of a gang that waits, until the gang has held room
// for as long as one may.
type standing struct {
	owner identity.ID
	id    jobspec.JobID // stands for the moment
	asked time.Time     // last
	held  time.Duration // room, before tasks came or it was given back
}

// standFor is how long a place is kept for a gang that does not ask.
const standFor = 5 * time.Minute

// standingOf returns the place of a gang that asks now. Sidecar.mu is held.
func (s *Sidecar) standingOf(owner identity.ID, job jobspec.JobID) *standing {
	if owner == s.id {
		return &standing{owner: owner, id: job}
	}
	now, key := s.now(), seatKey(owner, job.String())
	maps.DeleteFunc(s.standings, func(_ string, p *standing) bool { return now.Sub(p.asked) > standFor })
	p := s.standings[key]
	if p == nil || p.held >= holdMost {
		p = &standing{owner: owner, id: jobspec.NewJobID(now)}
		s.forgetStanding(owner)
		s.standings[key] = p
	}
	p.asked = now
	return p
}

// forgetStanding makes room for one more place of a member.
func (s *Sidecar) forgetStanding(owner identity.ID) {
	count, oldest := 0, ""
	for key, p := range s.standings {
		if p.owner != owner {
			continue
		}
		if count++; oldest == "" || p.asked.Before(s.standings[oldest].asked) {
			oldest = key
		}
	}
	if count >= maxGangsOf {
		delete(s.standings, oldest)
	}
}
