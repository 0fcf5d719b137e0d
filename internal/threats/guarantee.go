package threats

import (
	"fmt"
	"regexp"
	"strings"
)

// Guarantee is a line of docs/guarantees.md: a promise and the tests that hold
// it.
type Guarantee struct {
	ID      string // "G01"
	Promise string
	Tests   []Test
}

// Test is a test function and where it is: {"ipfs/tree", "TestCheckName"}.
type Test struct{ Package, Name string }

// String returns a test as the page has it, without the quotes.
func (t Test) String() string { return t.Package + " " + t.Name }

// In reports whether the source of a test file has the test, or where the name
// ends with "..." one whose name begins so.
func (t Test) In(source string) bool {
	begin, many := strings.CutSuffix(t.Name, "...")
	if !many {
		begin += "(t *testing.T)"
	}
	return strings.Contains(source, "\nfunc "+begin)
}

var (
	promise = regexp.MustCompile(`^\| (G\d{2}) \| (.+) \| (.+) \|$`)
	shown   = regexp.MustCompile("^`([a-z0-9/_-]+) (Test\\w+)`$")
	named   = regexp.MustCompile("([a-z0-9/_-]+) (`Test[\\w.]+`(?:, `Test[\\w.]+`)*)")
)

// Guarantees reads the lines of the page's table, | G01 | promise | tests |,
// where tests are `package TestName` with commas between them.
func Guarantees(page string) (list []Guarantee, err error) {
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "| G") {
			continue
		}
		m := promise.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			return nil, fmt.Errorf("want | G01 | promise | tests |, got %q", line)
		}
		g := Guarantee{ID: m[1], Promise: m[2]}
		for _, text := range strings.Split(m[3], ", ") {
			t := shown.FindStringSubmatch(text)
			if t == nil {
				return nil, fmt.Errorf("%s: want `package TestName`, got %q", g.ID, text)
			}
			g.Tests = append(g.Tests, Test{t[1], t[2]})
		}
		if len(list) > 0 && list[len(list)-1].ID >= g.ID {
			return nil, fmt.Errorf("%s follows %s", g.ID, list[len(list)-1].ID)
		}
		list = append(list, g)
	}
	return list, nil
}

// NamedTests returns the tests that a page names in its text, as package
// `TestName`, `TestOther` or, for all that begin so, package `TestName...`.
func NamedTests(page string) (list []Test, err error) {
	for _, m := range named.FindAllStringSubmatch(page, -1) {
		for _, name := range strings.Split(m[2], ", ") {
			list = append(list, Test{m[1], strings.Trim(name, "`")})
		}
	}
	if n := strings.Count(page, "`Test"); n != len(list) {
		return nil, fmt.Errorf("%d of %d tests stand behind the name of their package, want all", len(list), n)
	}
	return list, nil
}
