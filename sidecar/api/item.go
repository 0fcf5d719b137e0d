package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// ItemPlace is a place in the list of a job's items, behind one of them. The
// zero value is the beginning.
type ItemPlace struct {
	Task  int // index of a task; -1 = among those that were remembered
	Index int // of the item in its task, from 0
	set   bool
}

// ParseItemPlace reads what String gives; "" is the beginning.
func ParseItemPlace(s string) (p ItemPlace, err error) {
	if s == "" {
		return p, nil
	}
	task, index, _ := strings.Cut(s, "/")
	p.set = true
	if p.Task, err = strconv.Atoi(task); err == nil {
		p.Index, err = strconv.Atoi(index)
	}
	if err != nil || p.Task < -1 || p.Index < 0 || p.String() != s {
		return ItemPlace{}, fmt.Errorf("%q is no place of an item, such as 3/17", s)
	}
	return p, nil
}

// String returns "TASK/INDEX".
func (p ItemPlace) String() string { return fmt.Sprintf("%d/%d", p.Task, p.Index) }

// Begins reports whether p is the beginning of the list.
func (p ItemPlace) Begins() bool { return !p.set }

// Before reports whether an item at that place comes behind p.
func (p ItemPlace) Before(at ItemPlace) bool {
	return !p.set || at.Task > p.Task || at.Task == p.Task && at.Index > p.Index
}

// errEnough ends a list that has as many items as were asked for.
var errEnough = errors.New("enough items")

// items streams how a job's items ended, as JSON lines.
func (a *API) items(w *stream, r *http.Request) error {
	failed, err := queryFlag(r, "failed")
	if err != nil {
		return err
	}
	after, err := ParseItemPlace(r.URL.Query().Get("after"))
	if err != nil {
		return badQuery("after", "the at of an item")
	}
	limit := uint64(1) << 62
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.ParseUint(text, 10, 62); err != nil || limit == 0 {
			return badQuery("limit", "a number from 1")
		}
	}
	job, err := a.jobOf(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", wire.TypeLines)
	ctx, cancel := a.streamContext(r)
	defer cancel()
	enc := json.NewEncoder(w)
	err = a.cfg.Service.Items(ctx, tenantOf(ctx), job.ID.String(), after, func(it wire.Item) error {
		if failed && it.State != jobspec.ItemFailed && it.State != jobspec.ItemSkipped {
			return nil
		}
		if limit == 0 {
			return errEnough
		}
		limit--
		return enc.Encode(it)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}
