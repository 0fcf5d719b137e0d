package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// What Parse accepts at most.
const (
	MaxSpecSize   = 256 << 10 // bytes of text
	MaxSpecLevels = 32        // of maps and lists
)

// Parse reads one spec in YAML or JSON and checks it wholly. It is strict: one
// UTF-8 document, no anchors, aliases, merge keys or tags, no key twice, no
// unknown key, keys in exact case, no plain scalar that YAML readers disagree
// on. The result has no defaults filled in.
//
// The error is of type [*Problems] and holds all that is wrong. Its kind is
// E_LIMIT for a text that is too large or too deep, E_DUP_KEY for a key that
// stands twice, else E_SPEC.
func Parse(data []byte) (Spec, error) {
	doc, problems := readTree(data)
	if doc == nil {
		return Spec{}, problems.err()
	}
	shape := checkShape(doc)
	prune(doc, shape)
	problems.addUncovered(problemsOf(shape))
	spec, err := decodeSpec(doc)
	problems.check("", err)
	var semantic *Problems
	if err == nil && errors.As(spec.Validate(), &semantic) {
		problems.addUncovered(semantic.List)
	}
	if len(problems) > 0 {
		return Spec{}, problems.err()
	}
	return spec, nil
}

// readTree reads data into maps, lists and scalars. Without a usable top-level
// map the tree is nil and there is at least one problem.
func readTree(data []byte) (map[string]any, problemList) {
	var r treeReader
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch {
	case len(data) > MaxSpecSize:
		r.limit("the spec is %d bytes long, at most %d are read", len(data), MaxSpecSize)
		return nil, r.problems
	case !utf8.Valid(data):
		r.problems.add("", "the spec is not UTF-8 text")
		return nil, r.problems
	}
	var tree any
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == '{' && json.Valid(data) {
		tree = r.readJSON(data)
	} else {
		tree = r.readYAML(data)
	}
	if r.fatal {
		return nil, r.problems
	}
	doc, ok := tree.(map[string]any)
	if !ok {
		if len(r.problems) == 0 {
			r.problems.add("", "the spec is no map of keys: begin with \"version: %s\"", Version)
		}
		return nil, r.problems
	}
	return doc, r.problems
}

// decodeSpec turns a tree of the right shape into a Spec.
func decodeSpec(doc map[string]any) (Spec, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return Spec{}, err
	}
	var spec Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		var typeErr *json.UnmarshalTypeError
		if errors.As(err, &typeErr) {
			return Spec{}, Failure{Kind: KindSpec, Detail: typeErr.Field + ": cannot be " + typeErr.Value}.Error()
		}
		return Spec{}, err
	}
	return spec, nil
}
