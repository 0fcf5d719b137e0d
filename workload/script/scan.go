package script

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Function is a function that a Python file defines at its top level.
type Function struct {
	Name     string
	Line     int // of def or async, from 1
	Async    bool
	NoParams bool // "()"
}

// Functions lists what source defines at its top level, in its order, by the
// text alone. Of a name that is defined again the last definition counts.
func Functions(source []byte) (list []Function) {
	for _, d := range scan(source) {
		list = append(list, Function{Name: d.name, Line: d.line, Async: d.async, NoParams: d.noParams})
	}
	return list
}

// def is a function that a Python file defines at its top level.
type def struct {
	name     string
	line     int // of def or async, from 1
	async    bool
	noParams bool // "()"
}

// String returns "name (line 3)".
func (d def) String() string { return fmt.Sprintf("%s (line %d)", d.name, d.line) }

// scan lists the functions that source defines at column 0, in their order. Of
// a name that is defined again the last definition counts, as in Python. It
// follows the lexical rules of Python 3, those of PEP 701 for f-strings, which
// hold for older f-strings too. A file with syntax errors gives some list:
// Python itself says better what is wrong with it.
func scan(source []byte) []def {
	s := scanner{src: bytes.TrimPrefix(source, []byte("\xEF\xBB\xBF")), line: 1}
	var all []def
	for !s.eof() {
		if s.indent() == 0 {
			if d, ok := s.def(); ok {
				all = slices.DeleteFunc(all, func(o def) bool { return o.name == d.name })
				all = append(all, d)
			}
		}
		s.logicalLine()
	}
	return all
}

type scanner struct {
	src  []byte
	pos  int
	line int
	nest int // depth of f-strings in f-strings
}

func (s *scanner) eof() bool { return s.pos >= len(s.src) }

// at returns the byte i places ahead, 0 past the end.
func (s *scanner) at(i int) byte {
	if s.pos+i >= len(s.src) {
		return 0
	}
	return s.src[s.pos+i]
}

// newline passes one line end: \n, \r\n or \r.
func (s *scanner) newline() bool {
	switch {
	case s.at(0) == '\r' && s.at(1) == '\n':
		s.pos += 2
	case s.at(0) == '\r', s.at(0) == '\n':
		s.pos++
	default:
		return false
	}
	s.line++
	return true
}

// indent passes the white space at the start of a line and returns its column.
func (s *scanner) indent() int {
	col, fixed := 0, false
	for {
		switch s.at(0) {
		case ' ', '\t':
			if !fixed {
				col++
			}
		case '\f':
			if !fixed {
				col = 0
			}
		case '\\':
			// The white space after a continuation does not count.
			s.pos++
			if !s.newline() {
				return col
			}
			fixed = true
			continue
		default:
			return col
		}
		s.pos++
	}
}

// blanks passes white space and line continuations within a line.
func (s *scanner) blanks() {
	for {
		switch c := s.at(0); {
		case c == ' ' || c == '\t' || c == '\f':
			s.pos++
		case c == '\\' && (s.at(1) == '\n' || s.at(1) == '\r'):
			s.pos++
			s.newline()
		default:
			return
		}
	}
}

// word passes an identifier or number and returns it, "" when there is none.
func (s *scanner) word() string {
	start := s.pos
	for isWord(s.at(0)) {
		s.pos++
	}
	return string(s.src[start:s.pos])
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf
}

// def passes the head of a definition up to its name. Where there is none,
// nothing is passed.
func (s *scanner) def() (def, bool) {
	back := *s
	d := def{line: s.line}
	w := s.word()
	if w == "async" {
		d.async = true
		s.blanks()
		w = s.word()
	}
	if w == "def" {
		s.blanks()
		d.name = norm.NFKC.String(s.word()) // as Python does
	}
	if d.name == "" {
		*s = back
		return def{}, false
	}
	d.noParams = s.noParams()
	return d, true
}

// noParams looks ahead for "()"; comments and line ends may stand in it.
func (s *scanner) noParams() bool {
	ahead := *s
	ahead.blanks()
	if ahead.at(0) == '[' { // type parameters
		ahead.group()
		ahead.blanks()
	}
	if ahead.at(0) != '(' {
		return false
	}
	for ahead.pos++; ; {
		ahead.blanks()
		if ahead.at(0) == '#' {
			ahead.comment()
		}
		if !ahead.newline() {
			return ahead.at(0) == ')'
		}
	}
}

// group passes a bracket and all up to its partner.
func (s *scanner) group() {
	for depth := 0; !s.eof(); {
		switch c := s.at(0); c {
		case '(', '[', '{':
			depth++
			s.pos++
		case ')', ']', '}':
			s.pos++
			if depth--; depth == 0 {
				return
			}
		case '\n', '\r':
			s.newline()
		default:
			s.token()
		}
	}
}

func (s *scanner) comment() {
	for !s.eof() && s.at(0) != '\n' && s.at(0) != '\r' {
		s.pos++
	}
}

// logicalLine passes the rest of a logical line with its end.
func (s *scanner) logicalLine() {
	for !s.eof() && !s.newline() {
		switch c := s.at(0); c {
		case '(', '[', '{':
			s.group()
		case ')', ']', '}':
			s.pos++ // a syntax error
		default:
			s.token()
		}
	}
}

// token passes one token that is neither a bracket nor a line end.
func (s *scanner) token() {
	switch c := s.at(0); {
	case c == '#':
		s.comment()
	case c == '\\':
		s.pos++
		s.newline()
	case c == '"' || c == '\'':
		s.text("")
	case isWord(c):
		prefix := strings.ToLower(s.word())
		if c := s.at(0); c == '"' || c == '\'' {
			s.text(prefix)
		}
	default:
		s.pos++
	}
}
