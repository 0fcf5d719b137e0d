package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const (
	tokenScheme = "token"
	docIntro    = "The API of one ipdc node. docs/api.md explains it; docs/errors.md lists the kinds of a Problem."
)

// noToken marks an endpoint that needs none.
var noToken = []map[string][]string{{}}

// humaConfig is huma with JSON only, without its documentation pages and
// schema links, and with our problems in place of its errors.
func humaConfig(version string) huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[wire.Problem]())
	schemas.RegisterTypeAlias(reflect.TypeFor[jobspec.CPU](), reflect.TypeFor[float64]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "ipdc", Version: version, Description: docIntro, License: &huma.License{Name: "MIT", Identifier: "MIT"}},
			Components: &huma.Components{Schemas: schemas, SecuritySchemes: map[string]*huma.SecurityScheme{
				tokenScheme: {Type: "http", Scheme: "bearer", Description: "An API token, over the port. The unix socket needs none."},
			}},
			Security: []map[string][]string{{tokenScheme: {}}},
		},
		Formats: map[string]huma.Format{
			"application/json": huma.DefaultJSONFormat,
			"json":             huma.DefaultJSONFormat, // of application/problem+json
		},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{transformError},
	}
}

// transformError turns what huma itself refuses into our problem. It never
// repeats what the client sent.
func transformError(_ huma.Context, status string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code, err := strconv.Atoi(status)
	if err != nil {
		return nil, fmt.Errorf("status %q: %w", status, err)
	}
	f := jobspec.Failure{Kind: jobspec.KindInternal, Detail: "the request could not be read"}
	switch {
	case code == http.StatusRequestEntityTooLarge:
		f = jobspec.Failure{Kind: jobspec.KindLimitBytes, Detail: fmt.Sprintf("a spec has at most %d bytes", maxSpec)}
	case code < http.StatusInternalServerError:
		f = jobspec.Failure{Kind: jobspec.KindSpec, Detail: e.Detail}
	}
	return newProblem(code, f), nil
}

// document serves the OpenAPI document and takes from it which query
// parameters each endpoint knows.
func (a *API) document(doc *huma.OpenAPI) {
	const path = "/openapi.json"
	doc.AddOperation(&huma.Operation{
		OperationID: "openapi", Method: http.MethodGet, Path: path, Summary: "This document",
		Responses: openAPIDoc(),
	})
	for p, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete} {
			if op == nil {
				continue
			}
			known := []string{}
			for _, q := range op.Parameters {
				if q.In == "query" {
					known = append(known, q.Name)
				}
			}
			a.queries[op.Method+" "+p] = known
			a.methods[p] = append(a.methods[p], op.Method)
		}
	}
	b, err := json.Marshal(doc)
	if err == nil {
		b, err = withSpecSchema(b)
	}
	if err != nil {
		panic(fmt.Errorf("encode OpenAPI document: %w", err)) // it is made of constants
	}
	a.openapi = b
	a.mux.HandleFunc(http.MethodGet+" "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeOpenAPI)
		_, _ = w.Write(a.openapi)
	})
}

const typeOpenAPI = "application/openapi+json"

func openAPIDoc() map[string]*huma.Response {
	d := problemDoc()
	d["200"] = &huma.Response{Description: "OpenAPI 3.1", Content: map[string]*huma.MediaType{
		typeOpenAPI: {Schema: &huma.Schema{Type: huma.TypeObject}},
	}}
	return d
}

const (
	schemaRef = "#/components/schemas/"
	defsRef   = "#/$defs/"
)

// withSpecSchema puts the schema that specs are checked by in the place of the
// one that huma takes from the Go type, and drops schemas that nothing uses
// any more.
func withSpecSchema(openapi []byte) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(openapi, &doc); err != nil {
		return nil, err
	}
	text := strings.ReplaceAll(string(jobspec.SchemaJSON), defsRef, schemaRef+"Spec.")
	var spec map[string]any
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return nil, err
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for name, def := range spec["$defs"].(map[string]any) {
		schemas["Spec."+name] = def
	}
	for _, key := range []string{"$schema", "$id", "$defs"} {
		delete(spec, key)
	}
	schemas["Spec"] = spec
	for dropped := true; dropped; {
		b, err := json.Marshal(doc)
		if err != nil {
			return nil, err
		}
		dropped = false
		for name := range schemas {
			if !bytes.Contains(b, []byte(`"`+schemaRef+name+`"`)) {
				delete(schemas, name)
				dropped = true
			}
		}
	}
	return json.Marshal(doc)
}
