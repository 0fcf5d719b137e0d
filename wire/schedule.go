package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// ScheduleRequest asks for a new schedule.
type ScheduleRequest struct {
	Name     string       `json:"name"`                // the tenant has none of this name
	Cron     string       `json:"cron,omitempty"`      // five fields, a descriptor such as @daily, or @every DURATION
	Zone     string       `json:"zone,omitempty"`      // IANA name of a time zone; default UTC
	OnChange string       `json:"on_change,omitempty"` // in place of cron: a head, whose value becomes the first input
	Overlap  string       `json:"overlap,omitempty"`   // forbid (default), allow or replace
	CatchUp  string       `json:"catch_up,omitempty"`  // none, last (default) or all:N
	Paused   bool         `json:"paused,omitempty"`    //
	Spec     jobspec.Spec `json:"spec"`                //
}

// Schedule is a schedule as the API shows it.
type Schedule struct {
	jobspec.Schedule
	Next *time.Time       `json:"next,omitempty"` // the next instant; none of a head, or while it is paused
	Last *jobspec.Instant `json:"last,omitempty"` // the newest one that is recorded
}

// ScheduleList is a tenant's schedules by name.
type ScheduleList struct {
	Schedules []Schedule `json:"schedules"`
}

// NextInstants are instants to come.
type NextInstants struct {
	Zone string      `json:"zone"`
	Next []time.Time `json:"next"`
}

// History is what became of a schedule's instants, the newest first.
type History struct {
	Instants []jobspec.Instant `json:"instants"`
}
