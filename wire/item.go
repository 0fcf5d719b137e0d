package wire

import "github.com/ipdc/ipdc/jobspec"

// Item is a line of the answer of GET /v1/jobs/{ref}/items.
type Item struct {
	At string `json:"at"` // its place, for after: TASK/INDEX
	jobspec.ItemEnd
}
