package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
)

// holdPin begins the pins of uploads that are needed for a while only, such as
// those that a plan looks at: "hold/<tenant>/<name>/<cid>".
const holdPin = "hold/"

// holdName is what a caller may call a hold.
var holdName = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

type holdInput struct {
	Name string `path:"name" example:"PLAN7" doc:"Name of the hold"`
}

func (a *API) registerHolds(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "release", Method: http.MethodDelete, Path: "/v1/holds/{name}", Summary: "Let go of the uploads of a hold",
		Description: "One that is not there is no error: a hold ends by itself, too.",
	}, func(ctx context.Context, in *holdInput) (*nothing, error) {
		if !holdName.MatchString(in.Name) {
			return nil, refuseSpec("path.name", "is not 1 to 64 letters and digits")
		}
		return nil, a.dropPins(ctx, holdPin+tenantOf(ctx)+"/"+in.Name+"/", 0)
	})
}

func holdParam() *huma.Param {
	return queryParam("hold", "Keep it under this name, of letters and digits, until the hold is let go of, and for some hours at most, in place of a pin", huma.TypeString)
}

// keeper returns what names the pins of an upload: those of the tenant's user,
// or of a hold.
func keeper(ctx context.Context, query url.Values) (func(jobspec.CID) string, error) {
	tenant, hold := tenantOf(ctx), query.Get("hold")
	switch {
	case !query.Has("hold"):
		return func(c jobspec.CID) string { return UserPin(tenant, c) }, nil
	case !holdName.MatchString(hold):
		return nil, badQuery("hold", "1 to 64 letters and digits")
	}
	return func(c jobspec.CID) string { return holdPin + tenant + "/" + hold + "/" + c.String() }, nil
}

// dropPins takes off the pins that are so old; 0 = all.
func (a *API) dropPins(ctx context.Context, prefix string, age time.Duration) error {
	pins, err := a.cfg.IPFS.Pins(ctx, prefix)
	if err != nil {
		return fmt.Errorf("find the pins %s: %w", prefix, err)
	}
	for _, p := range pins {
		if age > 0 && time.Since(p.Created) < age {
			continue
		}
		if err := a.cfg.IPFS.Unpin(ctx, p.Name); err != nil {
			return fmt.Errorf("drop the pin %s: %w", p.Name, err)
		}
	}
	return nil
}

// endHolds ends the holds of callers that went without a word, until ctx ends.
func (a *API) endHolds(ctx context.Context) error {
	tick := time.NewTicker(a.cfg.HoldTime / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := a.dropPins(ctx, holdPin, a.cfg.HoldTime); err != nil && ctx.Err() == nil {
			a.log.Warn("end holds", "err", err)
		}
	}
}
