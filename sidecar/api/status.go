package api

import (
	"maps"
	"net/http"

	"github.com/ipdc/ipdc/jobspec"
)

// statuses is the one table from kinds to HTTP statuses. docs/api.md shows it;
// a test holds both to the kinds of jobspec.
var statuses = map[jobspec.Kind]int{
	jobspec.KindSpec:   http.StatusBadRequest,
	jobspec.KindPolicy: http.StatusForbidden,
	jobspec.KindPNet:   http.StatusForbidden,

	jobspec.KindLeaseLost: http.StatusConflict,

	jobspec.KindNotFound:     http.StatusNotFound,
	jobspec.KindFetchTimeout: http.StatusNotFound, // nobody has the data; the node is well

	jobspec.KindConflict: http.StatusConflict,
	jobspec.KindDupKey:   http.StatusConflict,
	jobspec.KindStopped:  http.StatusConflict,

	jobspec.KindLimit:        http.StatusRequestEntityTooLarge,
	jobspec.KindLimitBytes:   http.StatusRequestEntityTooLarge,
	jobspec.KindLimitEntries: http.StatusRequestEntityTooLarge,

	// What was sent or asked for can be read, and is wrong in itself.
	jobspec.KindName:         http.StatusUnprocessableEntity,
	jobspec.KindDupName:      http.StatusUnprocessableEntity,
	jobspec.KindSymlink:      http.StatusUnprocessableEntity,
	jobspec.KindDepth:        http.StatusUnprocessableEntity,
	jobspec.KindSizeMismatch: http.StatusUnprocessableEntity,
	jobspec.KindUnixFS:       http.StatusUnprocessableEntity,
	jobspec.KindHAMT:         http.StatusUnprocessableEntity,
	jobspec.KindCodec:        http.StatusUnprocessableEntity,
	jobspec.KindCIDHash:      http.StatusUnprocessableEntity,
	jobspec.KindBlockHash:    http.StatusUnprocessableEntity,
	jobspec.KindCARRoots:     http.StatusUnprocessableEntity,
	jobspec.KindCARFormat:    http.StatusUnprocessableEntity,
	jobspec.KindImageRef:     http.StatusUnprocessableEntity,
	jobspec.KindImageRun:     http.StatusUnprocessableEntity,
	jobspec.KindImageGone:    http.StatusUnprocessableEntity,
	jobspec.KindOutputType:   http.StatusUnprocessableEntity,
	jobspec.KindNoOutput:     http.StatusUnprocessableEntity,
	jobspec.KindSignature:    http.StatusUnprocessableEntity,
	jobspec.KindExit:         http.StatusUnprocessableEntity,
	jobspec.KindSignal:       http.StatusUnprocessableEntity,
	jobspec.KindOOM:          http.StatusUnprocessableEntity,

	jobspec.KindInternal:  http.StatusInternalServerError,
	jobspec.KindLost:      http.StatusServiceUnavailable,
	jobspec.KindNoQuorum:  http.StatusServiceUnavailable,
	jobspec.KindClock:     http.StatusServiceUnavailable,
	jobspec.KindPullStall: http.StatusGatewayTimeout,
	jobspec.KindTimeout:   http.StatusGatewayTimeout,
	jobspec.KindQuota:     http.StatusInsufficientStorage,
}

// Statuses returns the table.
func Statuses() map[jobspec.Kind]int { return maps.Clone(statuses) }

// Status returns the HTTP status that answers a failure of kind k. A kind that
// is not in the table is the node's own fault: 500.
func Status(k jobspec.Kind) int {
	if s, ok := statuses[k]; ok {
		return s
	}
	return http.StatusInternalServerError
}
