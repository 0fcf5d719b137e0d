package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// humaConfig is huma with JSON only, without its documentation pages and
// schema links, and with our problems in place of its errors.
func humaConfig(version string) huma.Config {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[wire.Problem]())
	schemas.RegisterTypeAlias(reflect.TypeFor[jobspec.CPU](), reflect.TypeFor[float64]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "ipdc", Version: version},
			Components: &huma.Components{Schemas: schemas},
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
		Responses: map[string]*huma.Response{"200": {Description: "OpenAPI 3.1"}},
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
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Errorf("encode OpenAPI document: %w", err)) // it is made of constants
	}
	a.openapi = b
	a.mux.HandleFunc(http.MethodGet+" "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(a.openapi)
	})
}
