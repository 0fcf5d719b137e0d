package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

//go:generate go test -run ^TestAPIDoc$ -update .

var update = flag.Bool("update", false, "write docs/api.md")

const apiDoc = "../../docs/api.md"

// openAPI is the part of an OpenAPI document that docs/api.md shows.
type openAPI struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	Summary, Description string
	Security             *[]map[string][]string
	Parameters           []parameter
	RequestBody          *struct{ Content map[string]media }
	Responses            map[string]struct {
		Description string
		Headers     map[string]any
		Content     map[string]media
	}
}

type parameter struct {
	Name, In, Description string
	Required              bool
	Example               string
	Schema                schema
}

type media struct {
	Schema  schema
	Example json.RawMessage
}

type schema struct {
	Ref                         string `json:"$ref"`
	Type                        any    // a name, or a list of them
	Format, Description         string
	Enum                        []any
	Examples                    []any
	Items, AdditionalProperties json.RawMessage
	Properties                  map[string]schema
	Required                    []string
}

// docs/api.md is testdata/api.md with what the OpenAPI document says.
func TestAPIDoc(t *testing.T) {
	r := start(t).ask("GET", "/openapi.json", "", bearer(alice))
	r.want(t, 200, "")
	var doc openAPI
	if err := json.Unmarshal(r.body, &doc); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err := template.Must(template.ParseFiles("testdata/api.md")).Execute(&b, map[string]string{
		"Endpoints": doc.endpoints(), "Bodies": doc.bodies(), "Statuses": statusRows(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(apiDoc, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(apiDoc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("docs/api.md is out of date, run make generate (-file +source):\n%s", diff)
	}
}

// endpoints shows every operation, in the order of the paths.
func (d openAPI) endpoints() string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[p])) {
			d.Paths[p][method].write(&b, strings.ToUpper(method), p)
		}
	}
	return strings.TrimSpace(b.String())
}

func (o operation) write(b *strings.Builder, method, p string) {
	fmt.Fprintf(b, "### `%s %s`\n%s.", method, p, strings.TrimSuffix(o.Summary, "."))
	if o.Description != "" {
		fmt.Fprintf(b, " %s", o.Description)
	}
	if o.Security != nil {
		fmt.Fprint(b, " No token is needed.")
	}
	fmt.Fprint(b, "\n\n")
	if len(o.Parameters) > 0 {
		fmt.Fprint(b, "| parameter | in | type | what it is |\n|---|---|---|---|\n")
		for _, q := range o.Parameters {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", q.Name, q.place(), q.Schema.name(), q.Description)
		}
		fmt.Fprint(b, "\n")
	}
	if o.RequestBody != nil {
		fmt.Fprintf(b, "Body: %s.\n\n", contents(o.RequestBody.Content))
	}
	fmt.Fprint(b, "| status | answer |\n|---|---|\n")
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		r := o.Responses[status]
		answer := contents(r.Content)
		if answer == "" {
			answer = "nothing"
		}
		if name := strings.Replace(status, "default", "4xx, 5xx", 1); name != status {
			status, r.Description = name, ""
		}
		if r.Description != "" && r.Description != "OK" {
			answer = r.Description + ": " + answer
		}
		if len(r.Headers) > 0 {
			answer += "; header `" + strings.Join(slices.Sorted(maps.Keys(r.Headers)), "`, `") + "`"
		}
		fmt.Fprintf(b, "| %s | %s |\n", status, answer)
	}
	fmt.Fprintf(b, "\n```sh\n%s\n```\n\n", o.example(method, p))
}

func (q parameter) place() string {
	if q.Required {
		return q.In + ", required"
	}
	return q.In
}

// example returns the operation as a curl command.
func (o operation) example(method, p string) string {
	var query []string
	for _, q := range o.Parameters {
		value := q.Example
		if value == "" && len(q.Schema.Examples) > 0 {
			value = fmt.Sprint(q.Schema.Examples[0])
		}
		if value == "" && q.Name == "ref" {
			value = "shell" // of images: no tool shall try it by itself
		}
		switch {
		case q.In == "path":
			p = strings.ReplaceAll(p, "{"+q.Name+"}", value)
		case q.In == "query" && value != "":
			query = append(query, q.Name+"="+value)
		}
	}
	if len(query) > 0 {
		p += "?" + strings.Join(query, "&")
	}
	line := "$S" + p
	if _, ok := o.Responses["101"]; ok {
		line += " -N -H 'Connection: Upgrade' -H 'Upgrade: " + wire.TaskStream + "'"
	}
	if strings.ContainsAny(p, "?&") {
		line = `"` + line + `"`
	}
	switch {
	case o.RequestBody == nil && method != "GET":
		line += " -X " + method
	case o.RequestBody != nil:
		line += o.RequestBody.Content["application/json"].send()
	}
	return "curl $C " + line
}

// send returns the flags that send a body: JSON, or else a CAR.
func (m media) send() string {
	switch path.Base(m.Schema.Ref) {
	case ".":
		return " -X POST -H 'Content-Type: application/vnd.ipld.car' -T data.car"
	case "Spec":
		return " -H 'Content-Type: application/yaml' --data-binary @job.yaml"
	default:
		return " -H 'Content-Type: application/json' -d '" + string(m.Example) + "'"
	}
}

// contents names media types and, of JSON, the schema.
func contents(content map[string]media) string {
	var list []string
	for _, t := range slices.Sorted(maps.Keys(content)) {
		text := "`" + t + "`"
		if name := content[t].Schema.Ref; name != "" {
			text = "`" + path.Base(name) + "`"
			if t != "application/json" {
				text += " as `" + t + "`"
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// bodies shows the fields of every schema but those of a spec, which
// docs/jobspec.md explains.
func (d openAPI) bodies() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		if name == "Spec" || strings.HasPrefix(name, "Spec.") {
			continue
		}
		s := d.Components.Schemas[name]
		var fields []string
		for _, f := range slices.Sorted(maps.Keys(s.Properties)) {
			mark := ""
			if !slices.Contains(s.Required, f) {
				mark = "?"
			}
			fields = append(fields, fmt.Sprintf("`%s`%s %s", f, mark, s.Properties[f].name()))
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, strings.Join(fields, ", "))
	}
	return strings.TrimSpace(b.String())
}

// name returns a schema's type in words.
func (s schema) name() string {
	if s.Ref != "" {
		return "`" + path.Base(s.Ref) + "`"
	}
	kind, _ := s.Type.(string)
	if list, ok := s.Type.([]any); ok { // ["array", "null"]
		kind = fmt.Sprint(list[0])
	}
	var of schema
	switch {
	case len(s.Enum) > 0:
		return strings.ReplaceAll(strings.Trim(fmt.Sprint(s.Enum), "[]"), " ", ", ")
	case json.Unmarshal(s.Items, &of) == nil:
		return "list of " + of.name()
	case json.Unmarshal(s.AdditionalProperties, &of) == nil && (of.Type != nil || of.Ref != ""):
		return "map to " + of.name()
	case s.Format == "date-time":
		return "time"
	case kind == "":
		return "any"
	}
	return kind
}

// statusRows groups the kinds of refusals by their status.
func statusRows(t *testing.T) string {
	byStatus := map[int][]string{}
	for _, k := range kinds(t) {
		byStatus[api.Status(k)] = append(byStatus[api.Status(k)], "`"+string(k)+"`")
	}
	var rows []string
	for _, s := range slices.Sorted(maps.Keys(byStatus)) {
		rows = append(rows, fmt.Sprintf("| %d | %s |", s, strings.Join(byStatus[s], " ")))
	}
	return strings.Join(rows, "\n")
}
