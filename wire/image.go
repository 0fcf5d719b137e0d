package wire

import "github.com/ipdc/ipdc/jobspec"

// Image is a local image of a node's engine.
type Image struct {
	ID   jobspec.ImageID `json:"id"`
	Ref  string          `json:"ref"` // what it was asked for by, or its tag
	Arch string          `json:"arch"`
	Size jobspec.Bytes   `json:"size"` // unpacked
}

// PushedImage is the answer of POST /v1/images/push.
type PushedImage struct {
	CID   jobspec.CID   `json:"cid"` // of the archive; the same for the same image on every node
	Image Image         `json:"image"`
	Bytes jobspec.Bytes `json:"bytes"` // of the archive
}

// PullProgress is a line of the answer of POST /v1/images/pull: any number of
// lines with bytes, then one with the image or with the problem.
type PullProgress struct {
	Done    int64    `json:"done,omitempty"`
	Total   int64    `json:"total,omitempty"`
	Image   *Image   `json:"image,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
}

// TypeLines is the media type of one JSON value per line.
const TypeLines = "application/x-ndjson"
