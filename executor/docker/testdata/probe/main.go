// Command probe is what runs inside the containers of this package's tests: it
// behaves well or badly on demand and reports what it got away with. It is
// linked statically and is the only file of the test image.
//
//	probe script                      // obeys DUMMY_ variables, see dummy.Script
//	probe status                      // what a program can see of its place
//	probe try write:/x mknod:/tmp/m   // attacks, each with its outcome
//
// Invariant: an attack does no harm when it works, since each of them is also
// run in an open container, as the proof that it would work.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Outcome is what became of an attack.
type Outcome struct {
	Err  string `json:"err,omitempty"`  // why it did not work
	N    int64  `json:"n,omitempty"`    // how much of it worked
	Text string `json:"text,omitempty"` // what it brought to light
}

func main() {
	switch cmd := os.Args[1]; cmd {
	case "script":
		script()
	case "status":
		print(status())
	case "try":
		out := map[string]Outcome{}
		for _, arg := range os.Args[2:] {
			name, rest, _ := strings.Cut(arg, ":")
			out[arg] = attempt(name, rest)
		}
		print(out)
	case "euid":
		fmt.Print(os.Geteuid())
	case "abort":
		abort()
	case "daemon":
		daemon()
	case "listen":
		listen()
	case "halt":
		halt()
	case "halts":
		halts()
	case "flood":
		flood()
	case "binary":
		binary()
	default:
		fmt.Fprintf(os.Stderr, "unknown command %s\n", cmd)
		os.Exit(2)
	}
}

func attempt(name, arg string) (o Outcome) {
	attack, ok := attacks[name]
	if !ok {
		return Outcome{Err: "unknown attack"}
	}
	n, text, err := attack(arg)
	o = Outcome{N: n, Text: text}
	if err != nil {
		o.Err = err.Error()
	}
	return o
}

func print(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
