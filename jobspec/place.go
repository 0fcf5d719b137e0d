package jobspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Place says which nodes may run a job's tasks, and which of them come first.
type Place struct {
	// Require is what a node must have: see [ParseRequirement] for the keys.
	// All must hold; at most 16. Default nothing.
	Require map[string]string `json:"require,omitempty"`
	// Prefer says who comes first of the nodes that may run a task; default
	// local, which is left empty.
	Prefer Prefer `json:"prefer,omitempty"`
	// Overflow are nodes for tasks that have waited too long for the others.
	Overflow Overflow `json:"overflow,omitzero"`
	// MinWorkers is how many members, the node that takes the job included, must
	// be able to run its tasks when it is submitted; 0 = one.
	MinWorkers int `json:"min_workers,omitempty"`
}

// MaxMinWorkers bounds Place.MinWorkers.
const MaxMinWorkers = 1000

// Prefer says who comes first.
type Prefer string

// The values of Prefer.
const (
	PreferLocal Prefer = "local" // who holds most bytes of the task's input
	PreferAny   Prefer = "any"   // who has least to do, wherever the input lies
)

// Overflow keeps nodes for later: a task goes to them once it has waited so
// long for the others, or when no other could ever run it.
type Overflow struct {
	To    string   `json:"to,omitempty"`    // a requirement, "label=cloud": who meets it is one of them
	After Duration `json:"after,omitempty"` // that a task waits before; required with To
}

// IsZero reports whether nothing is asked for.
func (p Place) IsZero() bool {
	return len(p.Require) == 0 && p.Prefer == "" && p.Overflow == Overflow{} && p.MinWorkers == 0
}

// Requirements that are no label.
const (
	requireArch   = "arch"
	requireRegion = "region"
	requireData   = "data"
	requireLabel  = "label"
	labelPrefix   = "label."
	dataLocal     = "local"
)

// LocalOnly says whether a task may run only where all of its input is held.
func (p Place) LocalOnly() bool { return p.Require[requireData] == dataLocal }

// ParseRequirement reads KEY=VALUE: arch=amd64, region=eu (which is the node's
// label region), label.disk=ssd, label=cloud (a label of that name, whatever
// its value), data=local (the node holds all of the task's input).
func ParseRequirement(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return "", "", KindSpec.Errorf("%q is no requirement: want KEY=VALUE, such as arch=amd64, region=eu, label.disk=ssd or label=cloud", clip(text))
	}
	if why := badRequirement(key, value); why != "" {
		return "", "", KindSpec.Errorf("%s", why)
	}
	return key, value, nil
}

// badRequirement says what is wrong with a requirement, or "".
func badRequirement(key, value string) string {
	name, isLabel := strings.CutPrefix(key, labelPrefix)
	switch {
	case isLabel:
		return badLabel(name, value)
	case key == requireLabel:
		return badLabel(value, "")
	case key == requireRegion:
		if value == "" {
			return "region is empty"
		}
		return badLabel(key, value)
	case key == requireArch:
		if value == "" || len(value) > MaxNodeLabel || strings.ContainsFunc(value, notNameRune) {
			return fmt.Sprintf("arch is %q, want a word such as amd64 or arm64", clip(value))
		}
	case key == requireData:
		if value != dataLocal {
			return fmt.Sprintf("data is %q, want local", clip(value))
		}
	default:
		return fmt.Sprintf("%q is no requirement, known are arch, region, data, label and label.NAME", clip(key))
	}
	return ""
}

// MaxNodeLabel bounds the name and the value of a node's label, in bytes.
const MaxNodeLabel = 64

func badLabel(name, value string) string {
	if name == "" || len(name) > MaxNodeLabel || strings.ContainsFunc(name, notNameRune) {
		return fmt.Sprintf("a node's label %q: a name has 1 to %d characters a-z, 0-9, '.', '/', '_' and '-'", clip(name), MaxNodeLabel)
	}
	if len(value) > MaxNodeLabel || strings.ContainsFunc(value, notValueRune) {
		return fmt.Sprintf("a node's label %s=%q: a value has up to %d printable characters without ',' and '='", name, clip(value), MaxNodeLabel)
	}
	return ""
}

func notNameRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._/-", r)
}

func notValueRune(r rune) bool { return r < '!' || r > '~' || r == ',' || r == '=' }

// maxRequire bounds the requirements of one job.
const maxRequire = 16

func (p Place) validate(l *problemList, inputs int) {
	oneOf(l, "place.prefer", p.Prefer, "", PreferLocal, PreferAny)
	if len(p.Require) > maxRequire {
		l.add("place.require", "has %d entries, at most %d are looked at", len(p.Require), maxRequire)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Require)) {
		if why := badRequirement(key, p.Require[key]); why != "" {
			l.add(joinKey("place.require", key), "%s", why)
		}
	}
	if p.LocalOnly() && p.Prefer == PreferAny {
		l.add("place.prefer", "is any, and require.data: local leaves only nodes that hold the input")
	}
	if p.MinWorkers < 0 || p.MinWorkers > MaxMinWorkers {
		l.add("place.min_workers", "is %d, want 1 to %d", p.MinWorkers, MaxMinWorkers)
	}
	if p.LocalOnly() && inputs == 0 {
		l.add("place.require.data", "is local, and there is no input that could be held")
	}
	o := p.Overflow
	switch {
	case o == Overflow{}:
		return
	case o.To == "":
		l.add("place.overflow.to", "is missing: say whom tasks may go to, such as label=cloud")
	case o.After == 0:
		l.add("place.overflow.after", "is missing: say how long a task waits before, such as 10m")
	}
	if o.To != "" {
		key, _, err := ParseRequirement(o.To)
		l.check("place.overflow.to", err)
		if key == requireData {
			l.add("place.overflow.to", "is data, want what tells nodes apart, such as label=cloud")
		}
	}
	if o.After != 0 {
		inRange(l, "place.overflow.after", o.After, MinTimeout, MaxTimeout)
	}
}

// canonical returns p with what is its default left out.
func (p Place) canonical() Place {
	if len(p.Require) == 0 {
		p.Require = nil
	}
	if p.Prefer == PreferLocal {
		p.Prefer = ""
	}
	return p
}
