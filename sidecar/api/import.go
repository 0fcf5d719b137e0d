package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/room"
	"github.com/ipdc/ipdc/wire"
)

func (a *API) registerImport(doc *huma.OpenAPI) {
	responses := problemDoc()
	responses["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{
		"application/json": {Schema: doc.Components.Schemas.Schema(reflect.TypeFor[wire.Imported](), true, "Imported")},
	}}
	a.registerStream(doc, huma.Operation{
		OperationID: "import", Method: http.MethodPost, Path: "/v1/dag/import",
		Summary: "Store the DAGs of a CAR with one or more roots and pin them",
		Parameters: []*huma.Param{
			queryParam("pin", "Pin the roots; default true. What is not pinned goes with the next collection", huma.TypeBoolean),
			holdParam(),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: binary(wire.TypeCAR)},
		Responses:   responses,
	}, a.importRoots)
}

// importRoots stores a CAR of any number of roots.
func (a *API) importRoots(w *stream, r *http.Request) error {
	pin := true
	if s := r.URL.Query().Get("pin"); s != "" {
		var err error
		if pin, err = strconv.ParseBool(s); err != nil {
			return badQuery("pin", "true or false")
		}
	}
	name, err := keeper(r.Context(), r.URL.Query())
	if err != nil {
		return err
	}
	return a.receive(w, r, func(ctx context.Context, body io.Reader) (any, error) {
		return a.storeRoots(ctx, body, pin, name)
	})
}

// storeRoots holds what it stores under one pin of its own until each root has
// its own.
func (a *API) storeRoots(ctx context.Context, body io.Reader, pin bool, name func(jobspec.CID) string) (res wire.Imported, err error) {
	hold := uploadPin + rand.Text()
	_, err = a.cfg.IPFS.Add(ctx, hold, func(s ipfs.Session) (jobspec.CID, error) {
		roots, stats, err := car.ReadRoots(ctx, body, s, car.Options{MaxBytes: a.cfg.MaxUpload})
		if err != nil {
			return jobspec.CID{}, err
		}
		res = wire.Imported{Roots: roots, Blocks: stats.Blocks, Bytes: stats.Bytes, Pinned: pin}
		return bundle(ctx, s, roots)
	})
	if err != nil {
		return wire.Imported{}, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, a.cfg.IPFS.Unpin(ctx, hold))
	}()
	for _, c := range res.Roots {
		if !pin {
			break
		}
		if err := a.cfg.IPFS.Pin(ctx, name(c), c); err != nil {
			return wire.Imported{}, err
		}
	}
	return res, nil
}

// bundle returns one root that holds all of them: a list in dag-cbor, when
// there are several.
func bundle(ctx context.Context, s ipfs.Session, roots []jobspec.CID) (jobspec.CID, error) {
	if len(roots) == 1 {
		return roots[0], nil
	}
	b, err := jobspec.EncodeCBOR(roots)
	if err != nil {
		return jobspec.CID{}, err
	}
	sum, err := multihash.Sum(b, multihash.SHA2_256, -1)
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("hash the list of roots: %w", err)
	}
	c := jobspec.WrapCID(cid.NewCidV1(cid.DagCBOR, sum))
	return c, s.Put(ctx, c, b)
}

// receive reads a CAR from a request's body and answers with what store says
// of it.
func (a *API) receive(w *stream, r *http.Request, store func(context.Context, io.Reader) (any, error)) error {
	if err := checkCARType(r); err != nil {
		return err
	}
	if r.ContentLength > a.cfg.MaxUpload {
		return jobspec.KindLimitBytes.Errorf("the CAR has %d bytes, this node takes %d", r.ContentLength, a.cfg.MaxUpload)
	}
	_ = w.rc.EnableFullDuplex() // the documented way to answer before the body is read
	body := newTimedBody(r, w.rc, a.cfg.BodyStall)
	body.whole, body.until = a.cfg.UploadTime, time.Now().Add(a.cfg.UploadTime)
	var res any
	err := a.cfg.Room.Admit(r.Context(), max(r.ContentLength, 0))
	if err == nil {
		res, err = store(r.Context(), room.Reader(body, func() error { return a.cfg.Room.Check(r.Context(), 0) }))
	}
	if err != nil {
		a.refuseUpload(w, r, body.cause(err))
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(res)
}
