package sidecar

import (
	"github.com/ipdc/ipdc/jobspec"
)

// inputLimit names the setting behind the bound that an input has passed.
func inputLimit(err error) error {
	if err == nil {
		return nil
	}
	f := jobspec.AsFailure(err)
	switch {
	case f.Hint != "":
	case f.Kind == jobspec.KindLimitEntries, f.Kind == jobspec.KindLimit:
		f.Hint = "give a part of it (-c CID/path), pack small files together, or raise the node's bound: ipdc node start --input-entries N"
	case f.Kind == jobspec.KindLimitBytes:
		f.Hint = "give a part of it (-c CID/path), or raise the node's bound: ipdc node start --input-bytes N"
	case f.Kind == jobspec.KindDepth:
		f.Hint = "give a part of it (-c CID/path), or raise the node's settings input-levels and input-blocks"
	default:
		return err
	}
	return f.Error()
}
