package jobspec

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// SchemaJSON is the JSON Schema (2020-12) of a spec. It holds names, types and
// shapes; [Spec.Validate] holds what a schema cannot say. Its formats
// "ipdc-..." are read by ParseBytes, ParseCPU, ParseDuration, ParseCID,
// ParsePath and ParseDatasetRef; "ipdc-timeout" is a duration or "none".
//
//go:embed schema.json
var SchemaJSON []byte

const schemaURL = "https://ipdc.invalid/schema/ipdc-v1.json"

// compiledSchema is made at first use; the embedded text is checked by tests.
var compiledSchema = sync.OnceValue(func() *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(SchemaJSON))
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for name, parse := range map[string]func(string) error{
		"ipdc-bytes":    positive(ParseBytes),
		"ipdc-cpu":      positive(ParseCPU),
		"ipdc-duration": positive(ParseDuration),
		"ipdc-timeout":  positive(parseTimeout),
		"ipdc-cid":      func(s string) error { _, err := ParseCID(s); return err },
		"ipdc-path":     func(s string) error { _, err := ParsePath(s); return err },
		"ipdc-dataset":  func(s string) error { _, err := ParseDatasetRef(s); return err },
	} {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: formatOf(parse)})
	}
	if err := c.AddResource(schemaURL, doc); err != nil {
		panic(err)
	}
	return c.MustCompile(schemaURL)
})

// positive refuses 0, which in a Spec means the default: a user who writes it
// means something else.
func positive[T ~int64](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		v, err := parse(s)
		if err == nil && v == 0 {
			return KindSpec.Errorf("%q is 0: leave the key out for its default", s)
		}
		return err
	}
}

// parseTimeout reads a duration, or "none".
func parseTimeout(s string) (d Duration, err error) {
	err = d.UnmarshalText([]byte(s))
	return d, err
}

// formatOf applies parse to text and to number literals; other types are the
// business of the keyword "type".
func formatOf(parse func(string) error) func(any) error {
	return func(v any) error {
		switch v := v.(type) {
		case string:
			return parse(v)
		case json.Number:
			return parse(v.String())
		}
		return nil
	}
}

// shapeProblem is a Problem with the place of the value to leave out.
type shapeProblem struct {
	Problem
	at []string // keys and indexes from the top
}

// checkShape holds doc against the schema.
func checkShape(doc map[string]any) []shapeProblem {
	var invalid *jsonschema.ValidationError
	if !errors.As(compiledSchema().Validate(doc), &invalid) {
		return nil
	}
	var list []shapeProblem
	eachLeaf(invalid, func(e *jsonschema.ValidationError) {
		if len(list) < maxProblems {
			list = append(list, shapeProblems(doc, e)...)
		}
	})
	return list
}

func problemsOf(shape []shapeProblem) []Problem {
	list := make([]Problem, len(shape))
	for i, p := range shape {
		list[i] = p.Problem
	}
	return list
}

func eachLeaf(e *jsonschema.ValidationError, f func(*jsonschema.ValidationError)) {
	if len(e.Causes) == 0 {
		f(e)
	}
	for _, cause := range e.Causes {
		eachLeaf(cause, f)
	}
}

// shapeProblems says in the user's words what one schema error means.
func shapeProblems(doc map[string]any, e *jsonschema.ValidationError) []shapeProblem {
	var list []shapeProblem
	below := func(keys []string, problem func(key string) Problem) []shapeProblem {
		for _, key := range keys[:min(len(keys), maxProblems)] {
			at := append(append([]string(nil), e.InstanceLocation...), key)
			p := problem(key)
			p.Path = pathText(at)
			list = append(list, shapeProblem{p, at})
		}
		return list
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		return below(k.Properties, func(key string) Problem { return unknownKey(e.InstanceLocation, key) })
	case *kind.Required:
		return below(k.Missing, func(string) Problem { return Problem{Detail: "is missing"} })
	}
	p := valueProblem(e, valueAt(doc, e.InstanceLocation))
	p.Path = pathText(e.InstanceLocation)
	return append(list, shapeProblem{p, e.InstanceLocation})
}

// valueProblem words an error about one value.
func valueProblem(e *jsonschema.ValidationError, value any) Problem {
	switch k := e.ErrorKind.(type) {
	case *kind.Format:
		f := AsFailure(k.Err)
		return Problem{Detail: f.Detail, Hint: f.Hint}
	case *kind.Const:
		return Problem{Detail: fmt.Sprintf("is %s, want %q", show(value), k.Want)}
	case *kind.Enum:
		if hint := unsupportedValue(e.InstanceLocation, value); hint != "" {
			return Problem{Detail: fmt.Sprintf("%s is not supported by this version", show(value)), Hint: hint}
		}
		return Problem{Detail: fmt.Sprintf("is %s, want one of %s", show(value), words(k.Want))}
	case *kind.MaxItems:
		return Problem{Detail: fmt.Sprintf("has %d entries, at most %d are supported by this version", k.Got, k.Want)}
	case *kind.Type:
		p := Problem{Detail: fmt.Sprintf("is %s, want %s", typeName(k.Got), typeNames(k.Want))}
		switch {
		case value == nil:
			p.Hint = "give it a value or leave the key out"
		case typeNames(k.Want) == "text" && k.Got != "object" && k.Got != "array":
			p.Hint = fmt.Sprintf("quote it: \"%v\"", value)
		}
		return p
	}
	return Problem{Detail: e.ErrorKind.LocalizedString(message.NewPrinter(language.English))}
}

func words(list []any) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%T", v)
	}
	return clip(string(b))
}

func typeNames(types []string) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = typeName(t)
	}
	return strings.Join(names, " or ")
}

// typeName is a JSON type in the words of somebody who writes YAML.
func typeName(t string) string {
	switch t {
	case "object":
		return "a map"
	case "array":
		return "a list"
	case "string":
		return "text"
	case "integer":
		return "a whole number"
	case "number":
		return "a number"
	case "boolean":
		return "true or false"
	case "null":
		return "empty"
	}
	return t
}
