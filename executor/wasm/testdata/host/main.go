// Command host is the program whose processes are the containers of this
// package's tests: built as ipdc is, without cgo and the race detector, which
// would make compiling a module take minutes.
package main

import (
	"os"

	"github.com/ipdc/ipdc/executor/wasm"
)

func main() { os.Exit(wasm.Main(os.Args[2:])) }
