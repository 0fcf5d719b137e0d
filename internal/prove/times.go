package main

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/internal/testrun"
)

// times are how long whole tests took.
type times []testrun.Event

// worthNaming is how many of the slowest tests are named.
const worthNaming = 10

func (l *times) add(e testrun.Event) {
	if e.Test != "" && !strings.Contains(e.Test, "/") {
		*l = append(*l, e)
	}
}

// save adds them to a file, the slowest first: seconds, package, test.
func (l times) save(file string) error {
	slices.SortStableFunc(l, func(a, b testrun.Event) int { return cmp.Compare(b.Took, a.Took) })
	var lines ends
	for _, e := range l {
		lines = append(lines, fmt.Sprintf("%.1f %s %s", e.Took.Seconds(), e.Package, e.Test))
	}
	return lines.save(file)
}

// slowest is a line with those of more than 10 s.
func (l times) slowest() string {
	slices.SortStableFunc(l, func(a, b testrun.Event) int { return cmp.Compare(b.Took, a.Took) })
	var named []string
	for _, e := range l[:min(len(l), worthNaming)] {
		if e.Took > 10*time.Second {
			named = append(named, fmt.Sprintf("%s %s %.0f s", path.Base(e.Package), e.Test, e.Took.Seconds()))
		}
	}
	if len(named) == 0 {
		return ""
	}
	return "slowest tests: " + strings.Join(named, ", ") + "\n"
}
