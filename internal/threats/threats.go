// Package threats holds docs/threats.tsv against the tests: each attack that
// must be met has a test named by its id, TestZ03... or TestQ02Q03..., or a
// line in docs/threats.md that says why it has none: "- Z07: ...". Its test
// runs this over the module.
//
//	rows, err := threats.Parse(tsv)
//	for _, r := range threats.Missing(rows, threats.Tested(sources), threats.Explained(doc)) { ... }
package threats

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Row is one attack.
type Row struct {
	ID       string // "Q01"
	Area     string
	Attack   string
	Expected string
	Level    string // U unit, D one engine, X several processes, B browser, — none can be named
	Priority int    // 0 must, 1 soon, 2 later
}

var (
	id      = regexp.MustCompile(`^[A-Z]\d{2}$`)
	level   = regexp.MustCompile(`^([UDXB—])([012])$`)
	named   = regexp.MustCompile(`(?m)^func (?:Test|Fuzz)((?:[A-Z]\d{2})+)`)
	each    = regexp.MustCompile(`[A-Z]\d{2}`)
	without = regexp.MustCompile(`(?m)^- ([A-Z]\d{2}): \S+`)
)

// Parse reads the table: a heading, then id, area, attack, what is expected,
// and level with priority, with tabs between them.
func Parse(tsv string) ([]Row, error) {
	lines := strings.Split(strings.TrimSuffix(tsv, "\n"), "\n")
	var rows []Row
	seen := map[string]bool{}
	for i, line := range lines[1:] {
		f := strings.Split(line, "\t")
		if len(f) != 5 || !id.MatchString(f[0]) || seen[f[0]] {
			return nil, fmt.Errorf("line %d: want an id of its own and four more fields, got %q", i+2, line)
		}
		m := level.FindStringSubmatch(f[4])
		if m == nil {
			return nil, fmt.Errorf("line %d: level %q", i+2, f[4])
		}
		seen[f[0]] = true
		rows = append(rows, Row{f[0], f[1], f[2], f[3], m[1], int(m[2][0] - '0')})
	}
	return rows, nil
}

// Tested returns the ids that tests in a source file are named by.
func Tested(source string) (ids []string) {
	for _, m := range named.FindAllStringSubmatch(source, -1) {
		ids = append(ids, each.FindAllString(m[1], -1)...)
	}
	return ids
}

// Explained returns the ids that a page says to have no test.
func Explained(page string) (ids []string) {
	for _, m := range without.FindAllStringSubmatch(page, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// Missing returns the rows whose id is in none of the lists.
func Missing(rows []Row, lists ...[]string) (missing []Row) {
	for _, r := range rows {
		if !slices.Contains(slices.Concat(lists...), r.ID) {
			missing = append(missing, r)
		}
	}
	return missing
}
