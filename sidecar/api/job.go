package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

type (
	submitInput struct {
		Type    string `header:"Content-Type" hidden:"true"`
		To      string `query:"to" doc:"The member that is to take the job: its id, a unique beginning or end of it, its label name, or any; default this node"`
		Key     string `header:"Idempotency-Key" doc:"At most 128 printable ASCII characters; the same key and spec give the first job again"`
		RawBody []byte `contentType:"application/yaml"`
	}
	submitAnswer struct {
		Status   int
		Location string `header:"Location"`
		Body     wire.Job
	}
	listInput struct {
		All     string   `query:"all" doc:"true: also jobs that another job needs, such as installations"`
		States  []string `query:"state,explode" doc:"Only jobs in one of these states"`
		Labels  []string `query:"label,explode" doc:"key=value; only jobs with all of these labels"`
		Dataset string   `query:"dataset" doc:"NAME or NAME@VERSION; only jobs over that dataset"`
		Tenant  string   `query:"tenant" doc:"Whose jobs, for the node's own user only, * for all; default the caller's"`
		Limit   string   `query:"limit" doc:"How many at most; default 100, 500 for anything larger"`
	}
	refInput struct {
		Tenant string `query:"tenant" doc:"Whose jobs, for the node's own user only; default the caller's"`
		Ref    string `path:"ref" example:"@last" doc:"Job id, a unique prefix of one, a job's name, or @last"`
	}
	removeInput struct {
		Tenant string `query:"tenant" doc:"Whose jobs, for the node's own user only; default the caller's"`
		Ref    string `path:"ref" example:"@last" doc:"Job id, a unique prefix of one, a job's name, or @last"`

		Force string `query:"force" doc:"Give up a job, too, whose member cannot be reached: its result and logs there"`
	}
)

func (a *API) registerJobs(h huma.API) {
	a.registerSubmit(h)
	register(a, h, huma.Operation{
		OperationID: "jobs", Method: http.MethodGet, Path: "/v1/jobs", Summary: "List jobs, newest first",
	}, a.jobs)
	register(a, h, huma.Operation{
		OperationID: "job", Method: http.MethodGet, Path: "/v1/jobs/{ref}", Summary: "Show a job with its attempts",
	}, a.onJob(a.cfg.Service.Job))
	register(a, h, huma.Operation{
		OperationID: "stop-job", Method: http.MethodPost, Path: "/v1/jobs/{ref}/stop",
		Summary: "Ask a job to end; the wish is durable when this returns",
	}, a.onJob(a.cfg.Service.Stop))
	register(a, h, huma.Operation{
		OperationID: "remove-job", Method: http.MethodDelete, Path: "/v1/jobs/{ref}",
		Summary: "Delete a final job's record, logs and pins",
	}, func(ctx context.Context, in *removeInput) (*nothing, error) {
		if err := checkRef(in.Ref); err != nil {
			return nil, err
		}
		if in.Force != "" && in.Force != "true" && in.Force != "false" {
			return nil, badQuery(forceParam, "true or false")
		}
		return nil, a.cfg.Service.Remove(ctx, tenantOf(ctx), in.Ref)
	})
}

func (a *API) registerSubmit(h huma.API) {
	spec := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[jobspec.Spec](), true, "Spec")
	job := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[wire.Job](), true, "Job")
	responses := problemDoc()
	responses["200"] = &huma.Response{
		Description: "The job that was submitted with this key before",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: job}},
	}
	register(a, h, huma.Operation{
		OperationID: "submit", Method: http.MethodPost, Path: "/v1/jobs", Summary: "Submit a job",
		Description:   "The body is the spec. The job is on disk when this returns.",
		DefaultStatus: http.StatusCreated, Responses: responses,
		MaxBodyBytes:    maxSpec + 1, // huma refuses a body of exactly this size
		BodyReadTimeout: -1, Middlewares: huma.Middlewares{a.timeBody},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {Schema: spec}}},
	}, a.submit)
}

func (a *API) submit(ctx context.Context, in *submitInput) (*submitAnswer, error) {
	if err := checkIdempotencyKey(in.Key); err != nil {
		return nil, err
	}
	if err := checkSpecType(in.Type, in.RawBody); err != nil {
		return nil, err
	}
	// The body's buffer goes back to a pool after this.
	spec, err := jobspec.Parse(bytes.Clone(in.RawBody))
	if err != nil {
		return nil, err
	}
	j, created, err := a.take(ctx, in.To, Submission{Tenant: tenantOf(ctx), IdempotencyKey: in.Key, Spec: spec})
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return &submitAnswer{Status: status, Location: "/v1/jobs/" + j.ID.String(), Body: j}, nil
}

// take stores a job here, or has a member take it.
func (a *API) take(ctx context.Context, to string, sub Submission) (wire.Job, bool, error) {
	if to == "" {
		return a.cfg.Service.Submit(ctx, sub)
	}
	if a.cfg.Errands == nil {
		return wire.Job{}, false, jobspec.Failure{
			Kind: jobspec.KindPolicy, Where: "to", Detail: "this node is on no network, so no member can take a job", Hint: "submit without --to",
		}.Error()
	}
	return a.cfg.Errands.HandOver(ctx, to, sub)
}

func checkIdempotencyKey(key string) error {
	ok := len(key) <= 128
	for _, b := range []byte(key) {
		ok = ok && b >= 0x20 && b < 0x7f
	}
	if !ok {
		return refuseSpec("header.Idempotency-Key", "the key is not of at most 128 printable ASCII characters")
	}
	return nil
}

// checkSpecType wants to be told what the body is, so that a web form, which a
// browser sends anywhere without asking, is never taken for a spec.
func checkSpecType(contentType string, body []byte) error {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || (params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8")) {
		media = ""
	}
	switch media {
	case "application/yaml":
		return nil
	case "application/json":
		var v json.RawMessage
		if err := json.Unmarshal(body, &v); err != nil {
			return refuseSpec("", fmt.Sprintf("the body is not JSON: %v", err))
		}
		return nil
	}
	return refuse(http.StatusUnsupportedMediaType, jobspec.KindSpec, "send Content-Type: application/json or application/yaml, in UTF-8",
		"a spec is JSON or YAML")
}

// refuseSpec is a malformed request, as opposed to a wrong spec.
func refuseSpec(where, detail string) error {
	return jobspec.Failure{Kind: jobspec.KindSpec, Where: where, Detail: detail}.Error()
}

// maxList is what one list answers with at most.
const maxList = 500

func (a *API) jobs(ctx context.Context, in *listInput) (*answer[wire.JobList], error) {
	f := JobFilter{Limit: 100, All: in.All == "true"}
	if in.All != "" && in.All != "true" && in.All != "false" {
		return nil, badQuery("all", "true or false")
	}
	for _, s := range in.States {
		state := jobspec.JobState(s)
		if !slices.Contains(jobStates, state) {
			return nil, badQuery("state", fmt.Sprintf("one of %v", jobStates))
		}
		f.States = append(f.States, state)
	}
	for _, l := range in.Labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return nil, badQuery("label", "key=value")
		}
		if f.Labels == nil {
			f.Labels = map[string]string{}
		}
		f.Labels[k] = v
	}
	if in.Dataset != "" {
		ref, err := jobspec.ParseDatasetRef(in.Dataset)
		if err != nil {
			return nil, badQuery("dataset", "NAME or NAME@VERSION")
		}
		f.Dataset = ref
	}
	if in.Limit != "" {
		n, err := strconv.ParseUint(in.Limit, 10, 64)
		if err != nil || n == 0 {
			return nil, badQuery("limit", "a number from 1")
		}
		f.Limit = int(min(n, maxList))
	}
	jobs, err := a.cfg.Service.Jobs(ctx, tenantOf(ctx), f)
	if err != nil {
		return nil, err
	}
	if jobs == nil {
		jobs = []wire.Job{}
	}
	return &answer[wire.JobList]{wire.JobList{Jobs: jobs}}, nil
}

var jobStates = []jobspec.JobState{
	jobspec.JobAccepted, jobspec.JobQueued, jobspec.JobRunning, jobspec.JobPublishing,
	jobspec.JobPublished, jobspec.JobSucceeded, jobspec.JobFailed, jobspec.JobStopped,
}

// onJob is an endpoint that answers with the job that a path names.
func (a *API) onJob(f func(ctx context.Context, tenant, ref string) (wire.Job, error)) func(context.Context, *refInput) (*answer[wire.Job], error) {
	return func(ctx context.Context, in *refInput) (*answer[wire.Job], error) {
		if err := checkRef(in.Ref); err != nil {
			return nil, err
		}
		j, err := f(ctx, tenantOf(ctx), in.Ref)
		return &answer[wire.Job]{j}, err
	}
}

// checkRef refuses what can be no id and no name before anything else sees
// it. Nothing is ever opened by a ref, and this keeps it so.
func checkRef(ref string) error {
	ok := ref != "" && utf8.RuneCountInString(ref) <= 128 && strings.Trim(ref, ".") != ""
	for _, r := range ref {
		ok = ok && unicode.IsPrint(r) && r != '/' && r != '\\' && r != utf8.RuneError
	}
	if !ok {
		return jobspec.KindNotFound.Errorf("no job has this id or name")
	}
	return nil
}
