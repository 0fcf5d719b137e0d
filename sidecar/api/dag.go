package api

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/stage"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// exampleCID is of a directory without entries.
const exampleCID = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"

// uploadPin begins the pins of uploads whose root is not known yet.
const uploadPin = "upload/"

// drainTime is how long a refused upload is read on, so that the client comes
// to the answer and does not end in a broken pipe.
const drainTime = 5 * time.Second

func (a *API) registerDAG(doc *huma.OpenAPI) {
	a.registerStream(doc, huma.Operation{
		OperationID: "upload", Method: http.MethodPost, Path: "/v1/dag", Summary: "Store the DAG of a CAR stream and pin it",
		Parameters: []*huma.Param{
			queryParam("root", "The root stands in the header, or is the last block", huma.TypeString, "first", "last"),
			holdParam(),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: binary(wire.TypeCAR)},
		Responses:   uploadDoc(doc),
	}, a.upload)
	a.registerStream(doc, huma.Operation{
		OperationID: "download", Method: http.MethodGet, Path: "/v1/dag/{cid}", Summary: "Stream a DAG",
		Parameters: []*huma.Param{
			{Name: "cid", In: "path", Required: true, Description: "Root of the DAG", Example: exampleCID, Schema: &huma.Schema{Type: huma.TypeString}},
			queryParam("format", "A CAR, the bytes of one file, or a tree of files", huma.TypeString, "car", "raw", "tar"),
			queryParam("dups", "In a CAR, each block as often as it is linked to (y, the default) or once (n)", huma.TypeString, "y", "n"),
		},
		Responses: streamDoc(wire.TypeCAR, wire.TypeRaw, wire.TypeTar),
	}, a.download)
	a.registerImport(doc)
}

func uploadDoc(doc *huma.OpenAPI) map[string]*huma.Response {
	d := problemDoc()
	d["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{
		"application/json": {Schema: doc.Components.Schemas.Schema(reflect.TypeFor[wire.Added](), true, "Added")},
	}}
	return d
}

// upload imports a CAR and pins its root for the caller, or holds it.
func (a *API) upload(w *stream, r *http.Request) error {
	rootLast := false
	switch r.URL.Query().Get("root") {
	case "", "first":
	case "last":
		rootLast = true
	default:
		return badQuery("root", "first or last")
	}
	name, err := keeper(r.Context(), r.URL.Query())
	if err != nil {
		return err
	}
	return a.receive(w, r, func(ctx context.Context, body io.Reader) (any, error) {
		return a.importCAR(ctx, body, rootLast, name)
	})
}

func checkCARType(r *http.Request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != wire.TypeCAR {
		return refuse(http.StatusUnsupportedMediaType, jobspec.KindSpec, "ipdc add makes a CAR of any file or directory",
			"an upload has Content-Type: %s", wire.TypeCAR)
	}
	return nil
}

// importCAR stores the DAG under a pin of its own until the root is known.
func (a *API) importCAR(ctx context.Context, body io.Reader, rootLast bool, name func(jobspec.CID) string) (added wire.Added, err error) {
	pin := uploadPin + rand.Text()
	root, err := a.cfg.IPFS.Add(ctx, pin, func(s ipfs.Session) (jobspec.CID, error) {
		root, stats, err := car.Read(ctx, body, s, car.Options{RootLast: rootLast, MaxBytes: a.cfg.MaxUpload})
		added.Blocks, added.Bytes = stats.Blocks, stats.Bytes
		return root, err
	})
	if err != nil {
		return wire.Added{}, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, a.cfg.IPFS.Unpin(ctx, pin))
	}()
	added.CID = root
	return added, a.cfg.IPFS.Pin(ctx, name(root), root)
}

// dropUploads unpins what uploads left that a crash cut between their pins, and
// what was held: whoever held it was cut off, too.
func (a *API) dropUploads(ctx context.Context) error {
	return errors.Join(a.dropPins(ctx, uploadPin, 0), a.dropPins(ctx, holdPin, 0))
}

// refuseUpload answers and then reads on for a moment.
func (a *API) refuseUpload(w *stream, r *http.Request, err error) {
	w.Header().Set("Connection", "close")
	a.writeError(w.ResponseWriter, r, err)
	if w.rc.Flush() != nil {
		return
	}
	_ = w.rc.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.Copy(io.Discard, r.Body)
}

// download streams a DAG in one of three formats.
func (a *API) download(w *stream, r *http.Request) error {
	root, err := jobspec.ParseCID(r.PathValue("cid"))
	if err != nil {
		return err
	}
	format, dups := r.URL.Query().Get("format"), r.URL.Query().Get("dups")
	if dups != "" && dups != "y" && dups != "n" || dups != "" && format != "" && format != "car" {
		return badQuery("dups", "y or n, for a CAR")
	}
	switch format {
	case "", "car":
		setFile(w, wire.TypeCAR, root.String()+".car")
		if dups == "n" {
			_, err = car.WriteOnce(r.Context(), w, a.cfg.IPFS, root)
		} else {
			err = car.Write(r.Context(), w, a.cfg.IPFS, root)
		}
	case "tar":
		setFile(w, wire.TypeTar, root.String()+".tar")
		err = stage.Tar(r.Context(), a.cfg.IPFS, root, w, a.cfg.Budget)
	case "raw":
		setFile(w, wire.TypeRaw, root.String())
		_, err = tree.Copy(r.Context(), a.cfg.IPFS, root, w, a.cfg.Budget)
	default:
		err = badQuery("format", "car, raw or tar")
	}
	return err
}

// setFile makes browsers save the answer and never show it: what is in a DAG
// must not run as a page of this address.
func setFile(w *stream, contentType, name string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}
