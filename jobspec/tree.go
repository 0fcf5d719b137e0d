package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// treeReader turns a text into map[string]any, []any, string, json.Number,
// bool and nil, and notes everything in it that is not allowed. Values that
// were refused are left out.
type treeReader struct {
	problems problemList
	fatal    bool // nothing more can be read
}

// refused stands for a value that was left out.
type refused struct{}

func (r *treeReader) limit(format string, a ...any) {
	r.fatal = true
	r.problems.push(Problem{Detail: fmt.Sprintf(format, a...), Kind: KindLimit})
}

func (r *treeReader) tooDeep(levels int) bool {
	if levels > MaxSpecLevels && !r.fatal {
		r.limit("the spec is nested deeper than %d levels", MaxSpecLevels)
	}
	return r.fatal
}

// put sets key in m, or notes that it stands there already.
func (r *treeReader) put(m map[string]any, seen map[string]bool, path, key string, value any) {
	if seen[key] {
		r.problems.push(Problem{
			Path: path, Kind: KindDupKey, Detail: "the key stands twice",
			Hint: "keep one of them",
		})
		return
	}
	seen[key] = true
	if _, left := value.(refused); !left {
		m[key] = value
	}
}

// readJSON reads data, which is valid JSON.
func (r *treeReader) readJSON(data []byte) any {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return r.jsonValue(dec, "", 0)
}

// jsonValue reads the next value. Errors of dec cannot happen, as its text is
// valid and in memory; they end the reading all the same.
func (r *treeReader) jsonValue(dec *json.Decoder, path string, levels int) any {
	token, err := dec.Token()
	if err != nil {
		r.fatal = true
		r.problems.add(path, "%v", err)
		return refused{}
	}
	switch t := token.(type) {
	case json.Delim:
		if r.tooDeep(levels + 1) {
			return refused{}
		}
		if t == '[' {
			return r.jsonList(dec, path, levels+1)
		}
		return r.jsonMap(dec, path, levels+1)
	case json.Number:
		return r.number(path, t.String())
	}
	return token
}

func (r *treeReader) jsonMap(dec *json.Decoder, path string, levels int) any {
	m, seen := map[string]any{}, map[string]bool{}
	for dec.More() && !r.fatal {
		key, _ := dec.Token()
		text, _ := key.(string)
		at := joinKey(path, text)
		r.put(m, seen, at, text, r.jsonValue(dec, at, levels))
	}
	_, _ = dec.Token() // the closing brace
	return m
}

func (r *treeReader) jsonList(dec *json.Decoder, path string, levels int) any {
	list := []any{}
	for i := 0; dec.More() && !r.fatal; i++ {
		list = append(list, r.jsonValue(dec, joinIndex(path, i), levels))
	}
	_, _ = dec.Token() // the closing bracket
	return withoutRefused(list)
}

// readYAML reads exactly one YAML document.
func (r *treeReader) readYAML(data []byte) any {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if err == nil && !errors.Is(dec.Decode(&second), io.EOF) {
		err = errors.New("there is more than one YAML document, or text after the first")
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the spec is empty")
	}
	if err != nil {
		r.fatal = true
		r.problems.add("", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return refused{}
	}
	return r.yamlValue(&doc, "", 0)
}

func (r *treeReader) yamlValue(n *yaml.Node, path string, levels int) any {
	switch {
	case r.fatal:
		return refused{}
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return r.refuse(n, path, "anchors and aliases are not allowed", "write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		return r.refuse(n, path, "the tag "+clip(n.Tag)+" is not allowed", "write the plain value")
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return r.yamlValue(n.Content[0], path, levels)
	case yaml.MappingNode:
		if !r.tooDeep(levels + 1) {
			return r.yamlMap(n, path, levels+1)
		}
	case yaml.SequenceNode:
		if !r.tooDeep(levels + 1) {
			return r.yamlList(n, path, levels+1)
		}
	case yaml.ScalarNode:
		return r.yamlScalar(n, path)
	}
	return refused{}
}

func (r *treeReader) refuse(n *yaml.Node, path, what, hint string) any {
	r.problems.push(Problem{Path: path, Detail: fmt.Sprintf("line %d: %s", n.Line, what), Hint: hint})
	return refused{}
}

func (r *treeReader) yamlMap(n *yaml.Node, path string, levels int) any {
	m, seen := map[string]any{}, map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := joinKey(path, key.Value)
		if r.yamlKey(key, at) {
			r.put(m, seen, at, key.Value, r.yamlValue(value, at, levels))
		}
	}
	return m
}

// yamlKey reports whether a key is text. Keys are compared as they are written,
// so that on and y, which YAML 1.1 takes for booleans, do no harm.
func (r *treeReader) yamlKey(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0:
		r.refuse(n, path, "anchors, aliases and tags are not allowed", "write the key out")
	case n.ShortTag() == "!!merge":
		r.refuse(n, path, "merge keys are not allowed", "write the keys out")
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str":
		r.refuse(n, path, "the key is not text", "quote it")
	default:
		return true
	}
	return false
}

func (r *treeReader) yamlList(n *yaml.Node, path string, levels int) any {
	list := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		list = append(list, r.yamlValue(item, joinIndex(path, i), levels))
	}
	return withoutRefused(list)
}

// withoutRefused gives up a list that lost an element: what is left would be
// another list.
func withoutRefused(list []any) any {
	if slices.Contains(list, any(refused{})) {
		return refused{}
	}
	return list
}

var (
	jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	// Booleans and base-60 numbers of YAML 1.1, which is what many readers
	// still speak.
	yaml11 = regexp.MustCompile(`^(?i:y|n|yes|no|on|off)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)
)

// yamlScalar reads a scalar. A plain one must mean the same to every reader
// of YAML 1.1, YAML 1.2 and JSON.
func (r *treeReader) yamlScalar(n *yaml.Node, path string) any {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n.Value
	}
	switch {
	case n.Value == "true" || n.Value == "false":
		return n.Value == "true"
	case n.Value == "" || n.Value == "null" || n.Value == "~":
		return nil
	case jsonNumber.MatchString(n.Value):
		return r.number(path, n.Value)
	case n.ShortTag() == "!!str" && !yaml11.MatchString(n.Value):
		return n.Value
	}
	return r.refuse(n, path, fmt.Sprintf("%s is not text to every YAML reader", clip(n.Value)),
		fmt.Sprintf("quote it: %q", clip(n.Value)))
}

// number keeps the literal, as sizes and processors are exact. Exponents are
// refused before anything computes with them: no field needs one, and to some
// YAML readers 1e3 is text.
func (r *treeReader) number(path, literal string) any {
	if len(literal) > 40 || strings.ContainsAny(literal, "eE") {
		r.problems.push(Problem{
			Path: path, Detail: fmt.Sprintf("the number %s is out of range or has an exponent", clip(literal)),
			Hint: fmt.Sprintf("write it with digits only; if it is text, quote it: %q", clip(literal)),
		})
		return refused{}
	}
	return json.Number(literal)
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// joinKey and joinIndex extend a path as messages show it.
func joinKey(path, key string) string {
	key = clip(key)
	if !plainKey.MatchString(key) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
