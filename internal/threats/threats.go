// Package threats holds the tables of what must not hurt, docs/threats.tsv and
// docs/faults.tsv, against the tests: each row that is due has a test named by
// its id, or a line in docs/threats.md that says why it has none: "- Z07: ...".
// A test is named by an id in its function, TestZ03... or TestQ02Q03..., or by
// the first words of a subtest, t.Run("C04 NUL in a name", ...). The package's
// own test runs this over the sources; internal/prove over what has run.
//
//	rows, err := threats.Parse(tsv)
//	tested, err := threats.Tested(source)
//	for _, r := range threats.Missing(rows, tested, threats.Explained(page)) { ... }
package threats

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Row is one attack or one fault.
type Row struct {
	ID       string // "Q01"
	Area     string
	Attack   string // or what breaks
	Expected string
	Level    string // U unit, D one engine, X several processes, B browser, — none can be named; "" for a fault
	Priority int    // 0 must, 1 soon, 2 later; faults are all 0
}

var (
	id      = regexp.MustCompile(`^[A-Z]\d{2}$`)
	level   = regexp.MustCompile(`^([UDXB—])([012])$`)
	without = regexp.MustCompile(`(?m)^- ([A-Z]\d{2}): \S+`)
)

// Parse reads a table: a heading, then id, area, attack or fault, and what is
// expected, with tabs between them. The fifth field is level with priority
// where the heading calls it so, and else how a fault is made, which is left
// out here.
func Parse(tsv string) ([]Row, error) {
	lines := strings.Split(strings.TrimSuffix(tsv, "\n"), "\n")
	heading := strings.Split(lines[0], "\t")
	levels := strings.HasPrefix(heading[len(heading)-1], "level")
	var rows []Row
	seen := map[string]bool{}
	for i, line := range lines[1:] {
		f := strings.Split(line, "\t")
		if len(f) != 5 || !id.MatchString(f[0]) || seen[f[0]] {
			return nil, fmt.Errorf("line %d: want an id of its own and four more fields, got %q", i+2, line)
		}
		row := Row{ID: f[0], Area: f[1], Attack: f[2], Expected: f[3]}
		if levels {
			m := level.FindStringSubmatch(f[4])
			if m == nil {
				return nil, fmt.Errorf("line %d: level %q", i+2, f[4])
			}
			row.Level, row.Priority = m[1], int(m[2][0]-'0')
		}
		seen[f[0]] = true
		rows = append(rows, row)
	}
	return rows, nil
}

// later are the areas whose rows belong to parts that are not there yet.
var later = []string{"Verification & results", "Chain / payments", "Web UI"}

// Due says whether a row must be met by what is there now. F71 is a fault of
// the chain.
func (r Row) Due() bool {
	return r.Priority < 2 && !slices.Contains(later, r.Area) && r.ID != "F71"
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
