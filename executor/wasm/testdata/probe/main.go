// Command probe is the WASI module of this package's tests. It is built with
// GOOS=wasip1 GOARCH=wasm and does what its environment says, in the words of
// dummy.Script, or tries what a module must not be able to do. It is compiled
// anew for each container, so it does without fmt, which is a third of it.
//
//	probe script
//	probe try read:/etc/passwd list:/ write:/inputs/x
//	probe count    // words of stdin
package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	switch os.Args[1] {
	case "script":
		script()
	case "count":
		count()
	case "try":
		for _, arg := range os.Args[2:] {
			say(strconv.Quote(arg), " ", strconv.Quote(try(arg)), "\n")
		}
	case "env":
		for i, word := range os.Environ() {
			say("[ "[min(i, 1):min(i, 1)+1], strconv.Quote(word))
		}
		say("]\n")
	case "spin":
		say("spinning\n")
		for i := 0; ; i++ {
			sink = i
		}
	case "trap":
		var p *int
		sink = *p
	case "flood":
		for i := range 40000 {
			n := strconv.Itoa(i)
			say(strings.Repeat("0", 127-len(n)), n, "\n")
		}
	case "open":
		var held []*os.File
		for {
			f, err := os.Open("/")
			if err != nil {
				say(strconv.Itoa(len(held)))
				return
			}
			held = append(held, f)
		}
	}
}

var sink int

func say(words ...string) { os.Stdout.WriteString(strings.Join(words, "")) }

func script() {
	env := func(name string) string { return os.Getenv("DUMMY_" + name) }
	num := func(name string) int { n, _ := strconv.Atoi(env(name)); return n }
	var b strings.Builder
	b.WriteString(env("STDOUT"))
	for i := range num("LINES") {
		b.WriteString("line " + strconv.Itoa(i+1) + "\n")
	}
	say(b.String())
	os.Stderr.WriteString(env("STDERR"))
	if from, to, ok := strings.Cut(env("COPY"), ":"); ok {
		check(os.CopyFS(to, os.DirFS(from)))
	}
	if path, text, ok := strings.Cut(env("WRITE"), ":"); ok {
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		check(os.WriteFile(path, []byte(text), 0o644))
	}
	if d, err := time.ParseDuration(env("SLEEP")); err == nil {
		time.Sleep(d)
	}
	if env("OOM") != "" {
		hog()
	}
	os.Exit(num("EXIT"))
}

func hog() {
	var held [][]byte
	for {
		held = append(held, make([]byte, 4<<20))
	}
}

// try returns what came of it, or "error: why".
func try(arg string) string {
	what, path, _ := strings.Cut(arg, ":")
	var out string
	var err error
	switch what {
	case "read":
		var b []byte
		b, err = os.ReadFile(path)
		out = string(b)
	case "write":
		err = os.WriteFile(path, []byte("x"), 0o644)
	case "fill":
		err = os.WriteFile(path, make([]byte, 32<<20), 0o644)
	case "link":
		from, to, _ := strings.Cut(path, "=")
		err = os.Symlink(to, from)
	case "list":
		var list []os.DirEntry
		list, err = os.ReadDir(path)
		for _, e := range list {
			out += e.Name() + " "
		}
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(out)
}

func count() {
	words := 0
	s := bufio.NewScanner(os.Stdin)
	for s.Split(bufio.ScanWords); s.Scan(); {
		words++
	}
	if os.Getenv("FAIL_OVER") != "" && words > 2 {
		os.Exit(3)
	}
	say(strconv.Itoa(words), "\n")
}

func check(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
