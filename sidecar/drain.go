package sidecar

import "github.com/ipdc/ipdc/jobspec"

func (s *Sidecar) isDraining() bool { return false }

func errDraining() error {
	return jobspec.Failure{Kind: jobspec.KindConflict, Detail: "this node drains: it takes nothing new", Hint: "ipdc node drain --undo, or another node"}.Error()
}
