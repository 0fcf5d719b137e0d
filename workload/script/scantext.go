package script

import "slices"

// formatted are the prefixes of strings with replacement fields: f-strings and
// the template strings of Python 3.14. All other strings are passed alike,
// whatever their prefix: a backslash hides a quote in raw ones too.
var formatted = []string{"f", "fr", "rf", "t", "tr", "rt"}

// maxNest bounds f-strings in f-strings. CPython allows 150.
const maxNest = 200

// quote is what ends a string: one or three times the same byte.
type quote struct {
	c byte
	n int
}

// text passes a string; the scanner stands at its first quote.
func (s *scanner) text(prefix string) {
	q := quote{s.at(0), 1}
	if s.at(1) == q.c && s.at(2) == q.c {
		q.n = 3
	}
	s.pos += q.n
	fields := slices.Contains(formatted, prefix)
	if fields {
		s.nest++
		defer func() { s.nest-- }()
	}
	if s.nest > maxNest {
		s.pos = len(s.src)
		return
	}
	raw := prefix == "fr" || prefix == "rf" || prefix == "tr" || prefix == "rt"
	for !s.eof() && !s.ends(q) {
		switch c := s.at(0); {
		case c == '\\':
			s.escape(fields, raw)
		case fields && c == '{' && s.at(1) == '{':
			s.pos += 2
		case fields && c == '{':
			s.field(q)
		default:
			s.char()
		}
	}
}

// ends reports whether the string ends here and passes its end. One of single
// quotes also ends, by a syntax error, before a line end.
func (s *scanner) ends(q quote) bool {
	for i := range q.n {
		if s.at(i) != q.c {
			return q.n == 1 && (s.at(0) == '\n' || s.at(0) == '\r')
		}
	}
	s.pos += q.n
	return true
}

// char passes one byte or one line end.
func (s *scanner) char() {
	if !s.newline() {
		s.pos++
	}
}

// escape passes a backslash and what it hides. In a formatted string that is
// no brace, but the name in \N{...}.
func (s *scanner) escape(fields, raw bool) {
	s.pos++
	switch c := s.at(0); {
	case fields && (c == '{' || c == '}'):
	case fields && !raw && c == 'N' && s.at(1) == '{':
		for s.pos += 2; !s.eof() && isName(s.at(0)); {
			s.pos++
		}
	default:
		s.char()
	}
}

// isName reports whether c may stand in the name of a character.
func isName(c byte) bool { return isWord(c) || c == ' ' || c == '-' }

// field passes a replacement field of a string that q ends: an expression,
// which may hold strings with the same quotes, and a format.
func (s *scanner) field(q quote) {
	s.pos++
	for depth := 0; !s.eof(); {
		if s.newline() {
			continue
		}
		switch c := s.at(0); {
		case c == '(' || c == '[' || c == '{':
			depth++
			s.pos++
		case c == '}' && depth == 0:
			s.pos++
			return
		case c == ')' || c == ']' || c == '}':
			depth = max(depth-1, 0)
			s.pos++
		case c == ':' && depth == 0:
			s.pos++
			s.format(q)
			return
		default:
			s.token()
		}
	}
}

// format passes the format of a field, with the brace that ends the field. It
// is text with fields; quotes in it mean nothing unless they end the string.
func (s *scanner) format(q quote) {
	for !s.eof() {
		switch c := s.at(0); {
		case c == '}':
			s.pos++
			return
		case c == '{':
			s.field(q)
		case c == '\\':
			s.escape(true, true)
		default:
			if s.stops(q) {
				return
			}
			s.char()
		}
	}
}

// stops reports whether the string ends here, without passing anything.
func (s *scanner) stops(q quote) bool {
	ahead := *s
	return ahead.ends(q)
}
