package sidecar

import (
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Shy is the table of members that are not asked for now.
type Shy = shy

// ShyAtFirst is for how long a member that refused is not asked again.
const ShyAtFirst = shyAtFirst

func (s *Shy) Add(id identity.ID, now time.Time)     { s.add(id, now) }
func (s *Shy) Took(id identity.ID)                   { s.took(id) }
func (s *Shy) Is(id identity.ID, now time.Time) bool { return s.is(id, now) }

// PaceLimit is how long a task may run when others took so long.
func PaceLimit(least time.Duration, took ...time.Duration) (time.Duration, bool) {
	p := newPace(least, nil)
	for _, d := range took {
		began := time.Unix(1e9, 0)
		p.add(jobspec.Attempt{Started: began, Exited: began.Add(d)})
	}
	return p.limit()
}
