package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/wire"
)

// tunnelPattern is the endpoint of streams to the tasks of a gang.
const tunnelPattern = "GET /v1/jobs/{ref}/tasks/{task}/stream"

func (a *API) registerTunnel(doc *huma.OpenAPI) {
	task := refParam()
	task.Name, task.Description, task.Example = "task", "Name of the task: role-index", "worker-0"
	responses := problemDoc()
	responses["101"] = &huma.Response{Description: "A stream in frames, both ways"}
	op := huma.Operation{
		OperationID: "task-stream", Method: http.MethodGet, Path: "/v1/jobs/{ref}/tasks/{task}/stream",
		Summary: "Open a stream to the port of a gang's task",
		Description: "Send Connection: Upgrade and Upgrade: " + wire.TaskStream + ". After the answer 101 each side sends frames: the length of what follows " +
			"in 4 bytes, big-endian, at most 65536, then so many bytes. A length of 0 ends the direction; without it the stream was cut.",
		Parameters: []*huma.Param{refParam(), task, queryParam(tenantParam, tenantDoc, huma.TypeString)},
		Responses:  responses,
	}
	doc.AddOperation(&op)
	a.mux.HandleFunc(tunnelPattern, func(w http.ResponseWriter, r *http.Request) {
		if err := a.tunnel(w, r); err != nil {
			a.writeError(w, r, err)
		}
	})
}

// tunnel joins the request's connection with a task. It returns an error only
// when nothing was answered yet.
func (a *API) tunnel(w http.ResponseWriter, r *http.Request) error {
	if !upgrades(r) {
		return refuse(http.StatusUpgradeRequired, jobspec.KindSpec, "send Connection: Upgrade and Upgrade: "+wire.TaskStream, "this endpoint is a stream")
	}
	s, err := a.dialTask(r.Context(), r.PathValue("ref"), r.PathValue("task"))
	if err != nil {
		return err
	}
	defer s.Abort() // nothing when it has ended
	c, err := takeOver(w)
	if err != nil {
		return err
	}
	ctx, cancel := a.streamContext(r)
	defer cancel()
	defer context.AfterFunc(ctx, s.Abort)()
	if err := s.Relay(c); err != nil {
		a.log.Debug("stream to a task was cut", "path", r.URL.Path, "err", err)
	}
	return nil
}

func upgrades(r *http.Request) bool { return r.Header.Get("Upgrade") == wire.TaskStream }

// takeOver answers that the protocol is another one from here on, and returns
// the connection.
func takeOver(w http.ResponseWriter) (peering.Conn, error) {
	nc, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	c, ok := nc.(peering.Conn)
	if !ok || buf.Reader.Buffered() > 0 { // who sends frames before the answer is not understood
		_ = nc.Close()
		return nil, errors.New("the client did not wait for the answer")
	}
	_ = c.SetDeadline(time.Now().Add(memberAskTime))
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", wire.TaskStream)
	return c, c.SetDeadline(time.Time{}) // who is gone is found by the relay
}

var (
	_ peering.Conn = (*net.TCPConn)(nil)
	_ peering.Conn = (*net.UnixConn)(nil)
)
