package sidecar

import "github.com/ipdc/ipdc/jobspec"

// unsupported refuses what a spec may say and this node does not do yet.
func unsupported(s jobspec.Spec) error {
	refuse := func(where string) error {
		return jobspec.Failure{Kind: jobspec.KindPolicy, Where: where, Detail: "is not supported by this node", Hint: "leave it out"}.Error()
	}
	switch {
	case s.Run.Requirements.Defined():
		return refuse("run.requirements")
	case len(s.Inputs) > 0 && s.Inputs[0].As == jobspec.AsCAR:
		return refuse("inputs[0].as")
	}
	return nil
}
