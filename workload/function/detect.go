package function

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/ipdc/ipdc/internal/wasi"
)

// form is what a file is, in words that follow "it is".
type form string

const (
	formModule form = "a WASI module"
	formSpec   form = "a job spec"
	formText   form = "a text"
)

// yamlSpec knows a spec by its first key, which every spec has.
var yamlSpec = regexp.MustCompile(`(?m)^version\s*:\s*["']?ipdc/`)

// magics are the first bytes of what people take for a function.
var magics = []struct{ begin, what string }{
	{"\x7fELF", "a program for Linux (ELF), which needs an image: put it into one, or build it for WASI"},
	{"MZ", "a program for Windows"},
	{"PK\x03\x04", "a ZIP archive: give the directory itself"},
	{"\x1f\x8b", "compressed by gzip: unpack it"},
	{"\x89PNG", "a picture (PNG): data is given with -c"},
	{"\xff\xd8\xff", "a picture (JPEG): data is given with -c"},
	{"%PDF", "a PDF document: data is given with -c"},
}

// detect says what b is.
func detect(b []byte) form {
	switch {
	case wasi.IsModule(b):
		return formModule
	case wasi.IsComponent(b):
		return "a WebAssembly component: build a module for WASI preview 1"
	case len(b) == 0:
		return "empty"
	}
	for _, m := range magics {
		if bytes.HasPrefix(b, []byte(m.begin)) {
			return form(m.what)
		}
	}
	if bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b) {
		return "binary data of no known form"
	}
	if first, _, _ := strings.Cut(string(b[:min(len(b), 256)]), "\n"); strings.HasPrefix(first, "#!") && !strings.Contains(first, "python") {
		return form("a script for " + strings.TrimSpace(first[2:]) + ": -e runs shell commands")
	}
	if b[0] == '{' || yamlSpec.Match(b) {
		return formSpec
	}
	return formText
}
