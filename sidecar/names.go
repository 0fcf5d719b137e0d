package sidecar

import (
	"fmt"
	"path/filepath"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// ObjectPrefix begins the name of every engine object of a node, so that
// several nodes share one engine without touching each other's.
func ObjectPrefix(id identity.ID) string { return ObjectPrefixes + id.Short() + "-" }

// ObjectPrefixes begins the prefix of each node.
const ObjectPrefixes = "ipdc-"

func (s *Sidecar) logDir(job jobspec.JobID) string {
	return filepath.Join(s.cfg.Dir, "logs", job.String())
}

func (s *Sidecar) logFile(id jobspec.AttemptID) string {
	return filepath.Join(s.logDir(id.Job), fmt.Sprintf("%d-%d.log", id.Task, id.Try))
}

func (s *Sidecar) runDir(id jobspec.AttemptID) string {
	return filepath.Join(s.cfg.Dir, "run", id.String())
}

// Pin names, so that each can be set again after a crash and removed by job.
func pinName(job jobspec.JobID, what string) string { return "job/" + job.String() + "/" + what }

func attemptPin(id jobspec.AttemptID) string {
	return pinName(id.Job, fmt.Sprintf("attempt/%d-%d", id.Task, id.Try))
}
