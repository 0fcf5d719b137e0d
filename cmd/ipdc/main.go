// Command ipdc turns CIDs into CIDs: it runs a node, stores data on it, and
// submits jobs that run where the data is.
//
//	ipdc node start -d
//	cid=$(ipdc add -q pictures)
//	ipdc job submit -f process.py -c "$cid" --out small
//
// One file per command. This package is the only place that knows every
// adapter (wiring.go) and how failures become exit codes (exit.go).
package main

import (
	"os"

	"github.com/ipdc/ipdc/executor/wasm"
)

// version is set by the linker.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == wasmPart {
		os.Exit(wasm.Main(os.Args[2:]))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
