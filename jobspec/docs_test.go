package jobspec_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// docs/jobspec.md names every field, every kind, and shows a spec that works.
func TestDocs(t *testing.T) {
	doc := string(readFile(t, "../docs/jobspec.md"))
	source, err := os.ReadFile("failure.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`Kind = "(\w+)"`).FindAllSubmatch(source, -1)
	if len(kinds) < 30 {
		t.Fatalf("found %d kinds in failure.go", len(kinds))
	}
	for _, k := range kinds {
		if !strings.Contains(doc, "| `"+string(k[1])+"` |") {
			t.Errorf("kind %s is not in the table", k[1])
		}
	}
	var schema schemaNode
	if err := json.Unmarshal(jobspec.SchemaJSON, &schema); err != nil {
		t.Fatal(err)
	}
	for _, field := range fieldsOf(schema.Defs, schema, "") {
		if !strings.Contains(doc, "| `"+field+"` |") {
			t.Errorf("field %s is not in the table", field)
		}
	}
	examples := regexp.MustCompile("(?s)```yaml\n(version: .*?)```").FindAllStringSubmatch(doc, -1)
	if len(examples) < 2 {
		t.Fatalf("%d examples, want one without stages and one with", len(examples))
	}
	for i, e := range examples {
		if _, err := jobspec.Parse([]byte(e[1])); err != nil {
			t.Errorf("example %d: %v", i, err)
		}
	}
}

// fieldsOf lists the leaves of the schema as the table writes them.
func fieldsOf(defs map[string]schemaNode, s schemaNode, path string) []string {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		if s = defs[name]; path == "stages[]."+name { // a field of its own is described once
			return []string{path}
		}
	}
	if s.Items != nil && strings.HasPrefix(s.Items.Ref, "#") {
		return append(fieldsOf(defs, *s.Items, path+"[]"), path)
	}
	if len(s.Properties) == 0 {
		return []string{path}
	}
	var list []string
	for name, p := range s.Properties {
		list = append(list, fieldsOf(defs, p, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return list
}
