package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/wire"
)

// registerStreams adds the endpoints that are no JSON.
func (a *API) registerStreams(doc *huma.OpenAPI) {
	a.registerHealth(doc)
	a.registerStream(doc, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: "/v1/jobs/{ref}/events",
		Summary:     "Stream a job's history as server-sent events",
		Description: "Ends with an event named end, or error with a Problem; without one of them it was cut: resume with Last-Event-ID.",
		Parameters: []*huma.Param{
			refParam(), queryParam(tenantParam, tenantDoc, huma.TypeString), queryParam("follow", "Go on until the job is final", huma.TypeBoolean),
			queryParam("after", "Begin after this event", huma.TypeInteger),
			{Name: "Last-Event-ID", In: "header", Description: "As after; wins over it", Schema: &huma.Schema{Type: huma.TypeInteger}},
		},
		Responses: eventsDoc(),
	}, a.events)
	a.registerStream(doc, huma.Operation{
		OperationID: "logs", Method: http.MethodGet, Path: "/v1/jobs/{ref}/logs", Summary: "Stream a job's log",
		Parameters: []*huma.Param{
			refParam(), queryParam(tenantParam, tenantDoc, huma.TypeString), queryParam("follow", "Go on until the job is final", huma.TypeBoolean),
			queryParam("format", "text, or events, which tell tasks and streams apart and resume by Last-Event-ID", huma.TypeString, "text", "events"),
			queryParam("task", "Only this task, by its number, or by its name in a gang", huma.TypeString),
			queryParam("after", "With format=events: begin after the event of this id", huma.TypeString),
		},
		Responses: logsDoc(),
	}, a.logs)
	a.registerStream(doc, huma.Operation{
		OperationID: "items", Method: http.MethodGet, Path: "/v1/jobs/{ref}/items",
		Summary:     "Stream how each item of a job ended, as JSON lines",
		Description: "One Item on each line: those that were remembered, then task by task. The order stays the same.",
		Parameters: []*huma.Param{
			refParam(), queryParam(tenantParam, tenantDoc, huma.TypeString),
			queryParam("failed", "Only items that failed, or were not run as their task ended before", huma.TypeBoolean),
			queryParam("after", "Begin behind the item with this at", huma.TypeString),
			queryParam("limit", "How many at most; default all", huma.TypeInteger),
		},
		Responses: streamDoc(wire.TypeLines),
	}, a.items)
}

func refParam() *huma.Param {
	return &huma.Param{
		Name: "ref", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString},
		Description: "Job id, a unique prefix of one, a job's name, or @last", Example: "@last",
	}
}

func queryParam(name, what, kind string, values ...any) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: what, Schema: &huma.Schema{Type: kind, Enum: values}}
}

func binary(types ...string) map[string]*huma.MediaType {
	m := map[string]*huma.MediaType{}
	for _, t := range types {
		m[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	return m
}

func streamDoc(types ...string) map[string]*huma.Response {
	d := problemDoc()
	d["200"] = &huma.Response{Description: "OK", Content: binary(types...)}
	return d
}

// eventsDoc documents one server-sent event, as tools read such a stream.
func eventsDoc() map[string]*huma.Response {
	text := func(what string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: what} }
	d := problemDoc()
	d["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{wire.TypeEvents: {Schema: &huma.Schema{
		Type: huma.TypeObject,
		Properties: map[string]*huma.Schema{
			"id": text("Number of the event, for Last-Event-ID"), "event": text("Type of the event"), "data": text("JSON"),
		},
	}}}}
	return d
}

func logsDoc() map[string]*huma.Response {
	d := streamDoc("text/plain")
	d["200"].Content[wire.TypeEvents] = eventsDoc()["200"].Content[wire.TypeEvents]
	return d
}
