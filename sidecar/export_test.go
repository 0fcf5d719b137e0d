package sidecar

import (
	"context"
	"os"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/wire"
)

// What is pure or small is tested from outside by these names.
var (
	ContainerTask = containerTask
	ContainerUID  = containerUID
	WriteTask     = writeTask
	BindFile      = bindFile
	RemoveRunDir  = removeRunDir
	AskUIDsWithin = askUIDs
)

// Followed is how many jobs somebody may wait for.
func (s *Sidecar) Followed() int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.hub.wakes)
}

// Begun says whether Run has begun and does not end.
func (s *Sidecar) Begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun() == nil
}

// Repair is one round of the repairer.
func (s *Sidecar) Repair(ctx context.Context) error { return s.repair(ctx) }

// SweepCustody is the keeper's part of one sweep.
func (s *Sidecar) SweepCustody(ctx context.Context) error { return s.sweepCustody(ctx) }

// Ask asks a member to hold something for this node, as replicate does.
func (s *Sidecar) Ask(ctx context.Context, id identity.ID, h wire.Hold) (wire.Holding, error) {
	return bus.Request[wire.Holding](ctx, s.cfg.Post, id, typeHold, h)
}

// TaskPaths are the host paths of an attempt.
type TaskPaths = taskPaths

// NewestCheckpoint is the name of the newest checkpoint in outputs; "" = none.
func NewestCheckpoint(outputs string) string {
	root, err := os.OpenRoot(outputs)
	if err != nil {
		return ""
	}
	defer root.Close()
	f, _ := newest(root)
	return f.name
}
