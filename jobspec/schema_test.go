package jobspec_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

// schemaNode is as much of a JSON Schema as the test compares.
type schemaNode struct {
	Ref        string                `json:"$ref"`
	Defs       map[string]schemaNode `json:"$defs"`
	Properties map[string]schemaNode `json:"properties"`
	Items      *schemaNode           `json:"items"`
	Additional any                   `json:"additionalProperties"`
	Default    any                   `json:"default"`
}

// The schema and the Go types say the same: no key is in one of them only, no
// map is open, and every default in the schema is what WithDefaults fills in.
func TestSchemaMatchesSpec(t *testing.T) {
	var schema schemaNode
	if err := json.Unmarshal(jobspec.SchemaJSON, &schema); err != nil {
		t.Fatal(err)
	}
	full := jobspec.Spec{Run: jobspec.Run{Per: jobspec.PerItem}, Inputs: []jobspec.Input{{CID: someCID}}}.WithDefaults()
	full.Stages = jobspec.Spec{Stages: []jobspec.Stage{{Run: full.Run}}}.WithDefaults().Stages
	var defaults any
	if err := json.Unmarshal([]byte(mustJSON(t, full)), &defaults); err != nil {
		t.Fatal(err)
	}
	compareSchema(t, schema.Defs, schema, reflect.TypeFor[jobspec.Spec](), "", defaults)
}

func compareSchema(t *testing.T, defs map[string]schemaNode, s schemaNode, typ reflect.Type, path string, value any) {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		def := s.Default
		if s = defs[name]; def != nil {
			s.Default = def
		}
	}
	// per defaults to task; the spec under test is one of items.
	if s.Default != nil && !strings.HasSuffix(path, ".run.per") {
		if value == nil && s.Default == false { // omitted
			value = false
		}
		if diff := cmp.Diff(s.Default, value); diff != "" {
			t.Errorf("%s: default (-schema +WithDefaults):\n%s", path, diff)
		}
	}
	if typ.Kind() == reflect.Slice && s.Items != nil {
		list, _ := value.([]any)
		if len(list) > 0 {
			value = list[0]
		}
		compareSchema(t, defs, *s.Items, typ.Elem(), path+"[]", value)
		return
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[jobspec.CID]() {
		return
	}
	if s.Additional != false {
		t.Errorf("%s: additionalProperties is %v, want false", path, s.Additional)
	}
	values, _ := value.(map[string]any)
	fields := map[string]bool{}
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		fields[name] = true
		if _, ok := s.Properties[name]; !ok {
			t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		compareSchema(t, defs, s.Properties[name], typ.Field(i).Type, path+"."+name, values[name])
	}
	for name := range s.Properties {
		if !fields[name] {
			t.Errorf("%s.%s of the schema is not in the type", path, name)
		}
	}
}
