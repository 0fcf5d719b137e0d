// Command wasi is the WASI module of these tests.
//
//	GOOS=wasip1 GOARCH=wasm go build -o module.wasm .
//
// Without arguments it turns stdin to upper case.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func main() {
	what := "upper"
	if len(os.Args) > 1 {
		what = os.Args[1]
	}
	switch what {
	case "upper":
		b, err := io.ReadAll(os.Stdin)
		check(err)
		os.Stdout.Write(bytes.ToUpper(b))
	case "count":
		words := 0
		s := bufio.NewScanner(os.Stdin)
		for s.Split(bufio.ScanWords); s.Scan(); {
			words++
		}
		fmt.Println(words)
	case "tick":
		f, err := os.Create(filepath.Join(os.Getenv("IPDC_OUTPUTS"), "ticks"))
		check(err)
		for i := 0; os.Remove(filepath.Join(os.Getenv("IPDC_OUTPUTS"), "go")) != nil; i++ {
			fmt.Println(i)
			fmt.Fprintln(f, i)
			time.Sleep(200 * time.Millisecond)
		}
		fmt.Fprintln(f, "end")
	case "exit":
		fmt.Fprintln(os.Stderr, "to-err")
		os.Exit(19)
	case "hog":
		var held [][]byte
		for {
			held = append(held, make([]byte, 8<<20))
		}
	case "fill":
		check(os.WriteFile("/outputs/big", make([]byte, 64<<20), 0o644))
	case "spin":
		for i := 0; ; i++ {
			sink = i
		}
	}
}

var sink int

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
