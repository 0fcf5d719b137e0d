package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
)

// jsonInput is a small JSON body, read by decode so that its problems have our
// kinds.
type jsonInput struct {
	Type    string `header:"Content-Type" hidden:"true"`
	RawBody []byte `contentType:"application/json"`
}

// takesJSON completes an operation with a body like the example, whose answer
// takes as long as it takes.
func takesJSON(a *API, h huma.API, example any, op huma.Operation) huma.Operation {
	t := reflect.TypeOf(example)
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: h.OpenAPI().Components.Schemas.Schema(t, true, t.Name()), Example: example},
	}}
	op.MaxBodyBytes, op.BodyReadTimeout = maxSpec+1, -1
	op.Middlewares = huma.Middlewares{a.timeBody, noDeadline}
	return op
}

// decode reads a JSON body strictly.
func decode[T any](in *jsonInput) (v T, err error) {
	if media, _, err := mime.ParseMediaType(in.Type); err != nil || media != "application/json" {
		return v, refuse(http.StatusUnsupportedMediaType, jobspec.KindSpec, "", "send Content-Type: application/json")
	}
	if !bytes.HasPrefix(bytes.TrimSpace(in.RawBody), []byte("{")) {
		return v, refuseSpec("body", "the body is not a JSON object") // null would be a wish for everything
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(in.RawBody, &fields); err != nil {
		return v, refuseSpec("body", err.Error())
	}
	for name, value := range fields {
		if string(value) == "null" {
			return v, refuseSpec(name, "null is no value; leave it out")
		}
	}
	dec := json.NewDecoder(bytes.NewReader(in.RawBody))
	dec.DisallowUnknownFields()
	if err = dec.Decode(&v); err == nil && dec.More() {
		err = fmt.Errorf("there is more than one value")
	}
	if err != nil {
		err = refuseSpec("body", err.Error())
	}
	return v, err
}
