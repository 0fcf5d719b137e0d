package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Schedules are the schedules of a node. A ref is a name, an id or a unique
// prefix of one; one of another tenant is E_NOT_FOUND.
type Schedules interface {
	// Add takes a new schedule; it is durable when Add returns. The same again
	// gives the first one with created false; another one of the same name is
	// E_CONFLICT, one that is not worth running E_SPEC.
	AddSchedule(ctx context.Context, tenant string, r wire.ScheduleRequest) (s wire.Schedule, created bool, err error)
	Schedules(ctx context.Context, tenant string) ([]wire.Schedule, error)
	Schedule(ctx context.Context, tenant, ref string) (wire.Schedule, error)
	PauseSchedule(ctx context.Context, tenant, ref string, paused bool) (wire.Schedule, error)
	// RunSchedule makes an instant of now; E_CONFLICT where an earlier one has
	// not ended and overlap is forbidden.
	RunSchedule(ctx context.Context, tenant, ref string) (jobspec.Instant, error)
	RemoveSchedule(ctx context.Context, tenant, ref string) error
	NextInstants(ctx context.Context, tenant, ref string, n int) (wire.NextInstants, error)
	History(ctx context.Context, tenant, ref string, limit, skip int) ([]jobspec.Instant, error)
}

type (
	scheduleInput struct {
		Tenant string `query:"tenant" doc:"Whose schedules, for the node's own user only; default the caller's"`
		Ref    string `path:"ref" example:"nightly" doc:"Name of a schedule, its id, or a unique prefix of that"`
	}
	schedulesInput struct {
		Tenant string `query:"tenant" doc:"Whose schedules, for the node's own user only; default the caller's"`
	}
	nextInput struct { // huma fills no fields of an embedded type that is not exported
		Tenant string `query:"tenant" doc:"Whose schedules, for the node's own user only; default the caller's"`
		Ref    string `path:"ref" example:"nightly" doc:"Name of a schedule, its id, or a unique prefix of that"`
		Number string `query:"n" doc:"How many, 1 to 1000; default 5"`
	}
	historyInput struct {
		Tenant string `query:"tenant" doc:"Whose schedules, for the node's own user only; default the caller's"`
		Ref    string `path:"ref" example:"nightly" doc:"Name of a schedule, its id, or a unique prefix of that"`
		Limit  string `query:"limit" doc:"How many at most, 1 to 1000; default 100"`
		Skip   string `query:"skip" doc:"Leave out so many of the newest"`
	}
	addedSchedule struct {
		Status   int
		Location string `header:"Location"`
		Body     wire.Schedule
	}
)

func (a *API) registerSchedules(h huma.API) {
	if a.cfg.Schedules == nil {
		a.cfg.Schedules = noSchedules{}
	}
	add := takesJSON(a, h, wire.ScheduleRequest{Name: "nightly", Cron: "0 2 * * *", Zone: "Europe/Lisbon", Spec: exampleSpec}, huma.Operation{
		OperationID: "add-schedule", Method: http.MethodPost, Path: "/v1/schedules", DefaultStatus: http.StatusCreated,
		Summary:     "Run a job at instants",
		Description: "The same again gives the first one, with status 200. The schedule is on disk when this returns.",
	})
	add.Responses = problemDoc()
	add.Responses["200"] = &huma.Response{
		Description: "The same schedule, which was there",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Schedule"}}},
	}
	register(a, h, add, a.addSchedule)
	register(a, h, huma.Operation{
		OperationID: "schedules", Method: http.MethodGet, Path: "/v1/schedules", Summary: "List schedules by name",
	}, func(ctx context.Context, _ *schedulesInput) (*answer[wire.ScheduleList], error) {
		list, err := a.cfg.Schedules.Schedules(ctx, tenantOf(ctx))
		return &answer[wire.ScheduleList]{wire.ScheduleList{Schedules: append([]wire.Schedule{}, list...)}}, err
	})
	register(a, h, huma.Operation{
		OperationID: "schedule", Method: http.MethodGet, Path: "/v1/schedules/{ref}", Summary: "Show a schedule",
	}, onSchedule(a.cfg.Schedules.Schedule))
	for path, paused := range map[string]bool{"pause": true, "resume": false} {
		register(a, h, huma.Operation{
			OperationID: path + "-schedule", Method: http.MethodPost, Path: "/v1/schedules/{ref}/" + path,
			Summary: map[bool]string{true: "Let a schedule's instants be missed until it is resumed", false: "Let a schedule that was paused go on"}[paused],
		}, onSchedule(func(ctx context.Context, tenant, ref string) (wire.Schedule, error) {
			return a.cfg.Schedules.PauseSchedule(ctx, tenant, ref, paused)
		}))
	}
	register(a, h, huma.Operation{
		OperationID: "run-schedule", Method: http.MethodPost, Path: "/v1/schedules/{ref}/run", Summary: "Run a schedule's job now",
	}, onSchedule(a.cfg.Schedules.RunSchedule))
	register(a, h, huma.Operation{
		OperationID: "remove-schedule", Method: http.MethodDelete, Path: "/v1/schedules/{ref}",
		Summary: "Remove a schedule and its history; its jobs stay",
	}, func(ctx context.Context, in *scheduleInput) (*nothing, error) {
		if err := checkSchedule(in.Ref); err != nil {
			return nil, err
		}
		return nil, a.cfg.Schedules.RemoveSchedule(ctx, tenantOf(ctx), in.Ref)
	})
	a.registerInstants(h)
}

func (a *API) registerInstants(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "next-instants", Method: http.MethodGet, Path: "/v1/schedules/{ref}/next", Summary: "List a schedule's next instants",
	}, func(ctx context.Context, in *nextInput) (*answer[wire.NextInstants], error) {
		n, err := number("n", in.Number, 5, 1)
		if err == nil {
			err = checkSchedule(in.Ref)
		}
		if err != nil {
			return nil, err
		}
		next, err := a.cfg.Schedules.NextInstants(ctx, tenantOf(ctx), in.Ref, n)
		return &answer[wire.NextInstants]{next}, err
	})
	register(a, h, huma.Operation{
		OperationID: "history", Method: http.MethodGet, Path: "/v1/schedules/{ref}/history",
		Summary: "List what became of a schedule's instants, the newest first",
	}, func(ctx context.Context, in *historyInput) (*answer[wire.History], error) {
		limit, err := number("limit", in.Limit, 100, 1)
		if err != nil {
			return nil, err
		}
		skip, err := number("skip", in.Skip, 0, 0)
		if err == nil {
			err = checkSchedule(in.Ref)
		}
		if err != nil {
			return nil, err
		}
		list, err := a.cfg.Schedules.History(ctx, tenantOf(ctx), in.Ref, limit, skip)
		return &answer[wire.History]{wire.History{Instants: append([]jobspec.Instant{}, list...)}}, err
	})
}

// onSchedule is an endpoint about the schedule that a path names.
func onSchedule[T any](f func(ctx context.Context, tenant, ref string) (T, error)) func(context.Context, *scheduleInput) (*answer[T], error) {
	return func(ctx context.Context, in *scheduleInput) (*answer[T], error) {
		if err := checkSchedule(in.Ref); err != nil {
			return nil, err
		}
		v, err := f(ctx, tenantOf(ctx), in.Ref)
		return &answer[T]{v}, err
	}
}

func (a *API) addSchedule(ctx context.Context, in *jsonInput) (*addedSchedule, error) {
	in.RawBody = bytes.Clone(in.RawBody) // its buffer goes back to a pool after this
	body, err := decode[struct {
		wire.ScheduleRequest
		Spec json.RawMessage `json:"spec"` // in place of the other one: specs are read strictly
	}](in)
	if err != nil {
		return nil, err
	}
	if len(body.Spec) == 0 {
		return nil, refuseSpec("spec", "a schedule has a job spec")
	}
	req := body.ScheduleRequest
	if req.Spec, err = jobspec.Parse(body.Spec); err != nil {
		return nil, err
	}
	s, created, err := a.cfg.Schedules.AddSchedule(ctx, tenantOf(ctx), req)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return &addedSchedule{Status: status, Location: "/v1/schedules/" + s.ID.String(), Body: s}, nil
}

// checkSchedule is checkRef of a schedule.
func checkSchedule(ref string) error {
	if checkRef(ref) != nil {
		return jobspec.KindNotFound.Errorf("no schedule has this id or name")
	}
	return nil
}

// number reads a number of a query, at most 1,000 where it counts a list.
func number(name, s string, none, least int) (int, error) {
	if s == "" {
		return none, nil
	}
	most := math.MaxInt32
	if least > 0 {
		most = 1000
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, badQuery(name, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n, nil
}

// noSchedules is a node that has none.
type noSchedules struct{}

var errNoSchedules = jobspec.Failure{Kind: jobspec.KindPolicy, Detail: "this node runs no schedules"}.Error()

func (noSchedules) AddSchedule(context.Context, string, wire.ScheduleRequest) (wire.Schedule, bool, error) {
	return wire.Schedule{}, false, errNoSchedules
}
func (noSchedules) Schedules(context.Context, string) ([]wire.Schedule, error) { return nil, nil }
func (noSchedules) Schedule(context.Context, string, string) (wire.Schedule, error) {
	return wire.Schedule{}, errNoSchedules
}
func (noSchedules) PauseSchedule(context.Context, string, string, bool) (wire.Schedule, error) {
	return wire.Schedule{}, errNoSchedules
}
func (noSchedules) RunSchedule(context.Context, string, string) (jobspec.Instant, error) {
	return jobspec.Instant{}, errNoSchedules
}
func (noSchedules) RemoveSchedule(context.Context, string, string) error { return errNoSchedules }
func (noSchedules) NextInstants(context.Context, string, string, int) (wire.NextInstants, error) {
	return wire.NextInstants{}, errNoSchedules
}
func (noSchedules) History(context.Context, string, string, int, int) ([]jobspec.Instant, error) {
	return nil, errNoSchedules
}
