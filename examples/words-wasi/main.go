// Command words counts the words of its standard input: the function of
// examples/words as a WASI module, which a node without Docker runs too.
//
//	GOOS=wasip1 GOARCH=wasm go build -o words.wasm ./examples/words-wasi
//	ipdc job submit -x words.wasm -c LICENSE
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	words := 0
	s := bufio.NewScanner(os.Stdin)
	for s.Split(bufio.ScanWords); s.Scan(); {
		words++
	}
	if err := s.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(words)
}
