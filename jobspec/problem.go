package jobspec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problems is an error that holds everything that is wrong with a spec, so
// that its author mends it in one go. List is never empty.
type Problems struct{ List []Problem }

// Problem is one thing that is wrong.
type Problem struct {
	Path   string // "run.image", "inputs[0].cid"; "" is the spec as a whole
	Detail string // one sentence
	Hint   string // what to do, when it is not in Detail
	Kind   Kind   // "" means E_SPEC
}

// String returns "path: detail (hint)".
func (p Problem) String() string {
	s := p.Detail
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

func (p Problem) kind() Kind {
	if p.Kind == "" {
		return KindSpec
	}
	return p.Kind
}

// Error returns the kind and every problem.
func (p *Problems) Error() string { return p.Failure().Error().Error() }

// Kind is the kind of all problems when they share one, else E_SPEC.
func (p *Problems) Kind() Kind {
	kind := p.List[0].kind()
	for _, q := range p.List[1:] {
		if q.kind() != kind {
			return KindSpec
		}
	}
	return kind
}

// Failure returns the problems as one Failure: with its own path and hint when
// there is one problem, as a list in Detail when there are several.
func (p *Problems) Failure() Failure {
	if len(p.List) == 1 {
		q := p.List[0]
		return Failure{Kind: q.kind(), Where: q.Path, Detail: q.Detail, Hint: q.Hint}
	}
	const shown = 20
	texts := make([]string, 0, shown+1)
	for i, q := range p.List {
		if i == shown {
			texts = append(texts, fmt.Sprintf("and %d more", len(p.List)-shown))
			break
		}
		texts = append(texts, q.String())
	}
	return Failure{
		Kind:   p.Kind(),
		Detail: fmt.Sprintf("%d problems: %s", len(p.List), strings.Join(texts, "; ")),
		Hint:   "docs/jobspec.md lists every field with its range",
	}
}

// Is reports whether target is a FailureError of the same kind.
func (p *Problems) Is(target error) bool {
	var t *FailureError
	return errors.As(target, &t) && t.Failure.Kind == p.Kind()
}

// problemList collects problems, at most maxProblems: nobody reads more, and a
// hostile text may hold as many as it has bytes.
type problemList []Problem

const maxProblems = 100

func (l *problemList) push(p Problem) {
	if len(*l) < maxProblems {
		*l = append(*l, p)
	}
}

func (l *problemList) add(path, format string, a ...any) {
	l.push(Problem{Path: path, Detail: fmt.Sprintf(format, a...)})
}

// check adds err, when there is one, as a problem at path.
func (l *problemList) check(path string, err error) {
	if err == nil {
		return
	}
	f := AsFailure(err)
	if f.Kind == KindInternal {
		f.Kind = KindSpec
	}
	l.push(Problem{Path: path, Detail: f.Detail, Hint: f.Hint, Kind: f.Kind})
}

// addUncovered adds those of more that are about nothing l is already about:
// a value that was refused for its shape needs no second complaint.
func (l *problemList) addUncovered(more []Problem) {
	before := slices.Clone(*l)
	for _, p := range more {
		if !covered(before, p.Path) {
			l.push(p)
		}
	}
}

func covered(list []Problem, path string) bool {
	for _, p := range list {
		if within(p.Path, path) || within(path, p.Path) {
			return true
		}
	}
	return false
}

// within reports whether path is outer or lies below it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[' || outer == "")
}

func (l problemList) err() error {
	if len(l) == 0 {
		return nil
	}
	return &Problems{List: l}
}
