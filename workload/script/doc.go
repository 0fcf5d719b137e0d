// Package script turns a friendly command, a Python file or a shell
// expression, into the part of a job spec that says what is run.
//
//	p, err := script.Python(source, script.Options{Name: "process.py"})
//	// pack p.Files, a folder of files, and put its CID into p.Run.Code
//	spec.Run = p.Run
//	p = script.Shell("sed -n /x/p", false)
//	spec.Run = p.Run
//
// Invariants: what is run is decided from the source text alone, without
// running any of it; the same source and options give the same bytes, so that
// results can be remembered; a doubt is an error that says how to end it.
package script
