package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/ipdc/ipdc/wire"
)

// PullImage makes an image local on the node: ref is a reference that the
// node's registries know, or the CID of an archive as PushImage gives it. It
// takes as long as it takes: only ctx bounds it. progress may be nil.
func (c *Client) PullImage(ctx context.Context, ref string, progress func(done, total int64)) (wire.Image, error) {
	r := request{method: http.MethodPost, path: []string{"v1", "images", "pull"}, query: url.Values{"ref": {ref}}}
	resp, err := c.send(ctx, r)
	if err != nil {
		return wire.Image{}, err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var p wire.PullProgress
		if err := dec.Decode(&p); err == io.EOF {
			return wire.Image{}, fmt.Errorf("%s: the answer was cut: %w", r, io.ErrUnexpectedEOF)
		} else if err != nil {
			return wire.Image{}, fmt.Errorf("%s: read answer: %w", r, err)
		}
		switch {
		case p.Problem != nil:
			return wire.Image{}, &Error{Request: r.String(), Problem: *p.Problem}
		case p.Image != nil:
			return *p.Image, nil
		case progress != nil:
			progress(p.Done, p.Total)
		}
	}
}

// PushImage stores an archive of one of the node's images and pins it. Only
// ctx bounds its time.
func (c *Client) PushImage(ctx context.Context, ref string) (wire.PushedImage, error) {
	var p wire.PushedImage
	err := c.exchange(ctx, request{method: http.MethodPost, path: []string{"v1", "images", "push"}, query: url.Values{"ref": {ref}}}, &p)
	return p, err
}

// RemoveImage takes a name away from one of the node's images; with its last
// name the image goes. It is refused with E_POLICY unless c uses the unix
// socket.
func (c *Client) RemoveImage(ctx context.Context, ref string) (wire.Image, error) {
	var img wire.Image
	err := c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "images"}, query: url.Values{"ref": {ref}}}, &img)
	return img, err
}
