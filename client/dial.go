package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/wire/guest"
)

// Dial connects to the port of a gang's task, wherever that runs. ctx bounds
// the dialling only. The connection has CloseWrite, which the task's program
// reads as an end; Close without it is a reset there. One that was cut on the
// way gives io.ErrUnexpectedEOF.
func (c *Client) Dial(ctx context.Context, ref, task string) (net.Conn, error) {
	r := request{
		method: http.MethodGet, path: []string{"v1", "jobs", ref, "tasks", task, "stream"},
		header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {wire.TaskStream}},
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := c.compose(ctx, r)
	if err != nil {
		return nil, err
	}
	nc, err := c.http.Transport.(*http.Transport).DialContext(ctx, "tcp", req.URL.Host) //nolint:forcetypeassert // as New makes it
	if err != nil {
		return nil, c.transportError(r, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	br := bufio.NewReaderSize(nc, guest.MaxFrame)
	var resp *http.Response
	if err = req.Write(nc); err == nil {
		resp, err = http.ReadResponse(br, req)
	}
	switch {
	case err != nil:
		err = c.transportError(r, errors.Join(err, ctx.Err()))
	case resp.StatusCode != http.StatusSwitchingProtocols:
		err = readError(r, resp)
	case !stop():
		err = c.transportError(r, context.Cause(ctx))
	default:
		return &taskConn{Conn: nc, br: br}, nil
	}
	return nil, errors.Join(err, nc.Close())
}

// taskConn speaks in frames on a connection to the node.
type taskConn struct {
	net.Conn
	br   *bufio.Reader // used by one reader at a time
	left int           // of the frame that is being read
	end  error         // what reading has come to

	mu     sync.Mutex // of what is written
	frame  []byte
	closed bool // nothing more is written
}

// Read implements net.Conn.
func (c *taskConn) Read(p []byte) (int, error) {
	if c.end != nil || len(p) == 0 {
		return 0, c.end
	}
	if c.left == 0 {
		if err := c.head(); err != nil {
			return 0, err
		}
	}
	n, err := c.br.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, c.cut(err)
}

// head reads how long the next frame is.
func (c *taskConn) head() error {
	head, err := c.br.Peek(4)
	if err != nil {
		return c.cut(err)
	}
	c.left = int(binary.BigEndian.Uint32(head))
	_, _ = c.br.Discard(4)
	switch {
	case c.left == 0:
		c.end = io.EOF
	case c.left > guest.MaxFrame:
		c.end = fmt.Errorf("read stream: a frame of %d bytes", c.left)
	}
	return c.end
}

// cut makes an end between frames an error: there was none in them.
func (c *taskConn) cut(err error) error {
	if errors.Is(err, io.EOF) {
		c.end = io.ErrUnexpectedEOF
		return c.end
	}
	return err
}

// Write implements net.Conn.
func (c *taskConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	for n < len(p) && err == nil {
		piece := p[n:min(len(p), n+guest.MaxFrame)]
		c.frame = append(binary.BigEndian.AppendUint32(c.frame[:0], uint32(len(piece))), piece...)
		if _, err = c.Conn.Write(c.frame); err == nil {
			n += len(piece)
		} else {
			c.closed = true // half a frame may be out
		}
	}
	return n, err
}

// CloseWrite tells the task's program that nothing more comes. Reading goes on.
func (c *taskConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	_, err := c.Conn.Write(make([]byte, 4))
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	return err
}

// Close implements net.Conn. It says no end: who closes for an error has sent
// less than it wanted.
func (c *taskConn) Close() error { return c.Conn.Close() }
