package kubo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/internal/cidset"
	"github.com/ipdc/ipdc/ipfs/internal/walk"
	"github.com/ipdc/ipdc/jobspec"
)

// An import may wait for Kubo's collector, and is read back by Kubo before it
// is pinned.
const (
	importAnswers = 10      // times Config.Answer
	importRate    = 4 << 20 // bytes per second that are waited for beyond that
)

// Add implements ipfs.Node.
func (n *Node) Add(ctx context.Context, name string, fill func(ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error) {
	s := n.begin()
	defer s.end()
	root, err := fill(s)
	if err != nil {
		return jobspec.CID{}, err // the caller's own, which needs no word of ours
	}
	if err := n.settle(ctx, name, s, root); err != nil {
		return jobspec.CID{}, fmt.Errorf("add %q: %w", name, err)
	}
	return root, nil
}

func (n *Node) settle(ctx context.Context, name string, s *session, root jobspec.CID) error {
	list, st, err := s.reach(ctx, root)
	if err != nil {
		return fmt.Errorf("DAG %s is not whole: %w", root, err)
	}
	return n.keep(ctx, name, root, st, own{s}, list)
}

// reach returns the blocks below root that were put, and counts all of them.
// The others must be in Kubo.
func (s *session) reach(ctx context.Context, root jobspec.CID) (list []jobspec.CID, _ ipfs.Stat, err error) {
	var count counter
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(localCalls)
	note := func(c jobspec.CID, size int) {
		if s.held.Has(c) { // identity CIDs are not
			list = append(list, c)
		}
		count.add(c, int64(size))
	}
	err = walk.DAG(gctx, local{s}, []jobspec.CID{root}, cidset.New(), walk.Visit{
		Branch: func(c jobspec.CID, data []byte) error { note(c, len(data)); return nil },
		Leaf: func(c jobspec.CID) error {
			if s.held.Has(c) {
				note(c, int(s.at[bytesOf(c)].length))
				return nil
			}
			g.Go(func() error { return s.node.countStored(gctx, c, &count) })
			return nil
		},
	})
	// The first error of a leaf ends gctx, and with it the walk.
	if gerr := g.Wait(); gerr != nil {
		err = gerr
	}
	return list, count.stat, err
}

// countStored counts a block that must be in Kubo.
func (n *Node) countStored(ctx context.Context, c jobspec.CID, count *counter) error {
	size, err := n.size(ctx, c)
	if errors.Is(err, errMissing) {
		return n.missing(c)
	}
	if err == nil {
		count.add(c, size)
	}
	return err
}

// dagImport sends the blocks of list as a CAR with root, and pins root when pin
// is set, in one step that Kubo's collector cannot come between.
func (n *Node) dagImport(ctx context.Context, root jobspec.CID, list []jobspec.CID, g ipfs.Getter, size int64, pin bool) error {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, importAnswers*n.rpc.answer+time.Duration(size/importRate)*time.Second)
	defer cancel()
	pr, pw := io.Pipe()
	form := multipart.NewWriter(pw)
	var send errgroup.Group
	send.Go(func() error {
		err := writeForm(ctx, form, root, list, g)
		return errors.Join(err, pw.CloseWithError(err))
	})
	q := url.Values{
		"pin-roots": {fmt.Sprint(pin)}, "stats": {"true"}, "offline": {"true"},
		"fast-provide-root": {"false"}, "fast-provide-dag": {"false"}, // announcing is for Kubo's configuration
	}
	data, err := n.rpc.post(ctx, "dag/import", q, form.FormDataContentType(), pr, maxAnswer)
	_ = pr.CloseWithError(errors.New("call dag/import of Kubo has ended")) // returns nil always
	sendErr := send.Wait()
	switch {
	case err != nil && ctx.Err() != nil && outer.Err() == nil:
		return n.rpc.mute("dag/import")
	case err != nil && sendErr != nil && !errors.Is(err, ctx.Err()) && errors.Is(err, sendErr):
		return sendErr // what could not be read here
	case err != nil:
		return n.importError(err)
	case sendErr != nil:
		return fmt.Errorf("call dag/import of Kubo: %w", sendErr)
	}
	return n.checkImport(data, root, len(list), pin)
}

func writeForm(ctx context.Context, form *multipart.Writer, root jobspec.CID, list []jobspec.CID, g ipfs.Getter) error {
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="file"; filename="ipdc.car"`},
		"Content-Type":        {"application/octet-stream"},
	})
	if err != nil {
		return err
	}
	if err := car.WriteBlocks(ctx, part, g, root, list); err != nil {
		return err
	}
	return form.Close()
}

// checkImport reads what dag/import says it did.
func (n *Node) checkImport(data []byte, root jobspec.CID, blocks int, pin bool) error {
	imported, pinned := -1, !pin
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var line struct {
			Root *struct {
				Cid         map[string]string
				PinErrorMsg string
			}
			Stats *struct{ BlockCount int }
		}
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("call dag/import of Kubo: %w", err)
		}
		if line.Stats != nil {
			imported = line.Stats.BlockCount
		}
		if line.Root == nil {
			continue
		}
		if line.Root.PinErrorMsg != "" {
			return n.importError(n.rpc.room(&answerError{"dag/import", line.Root.PinErrorMsg, http.StatusOK}))
		}
		c, err := jobspec.ParseCID(line.Root.Cid["/"])
		pinned = pinned || (err == nil && c == root)
	}
	if imported != blocks || !pinned {
		return fmt.Errorf("call dag/import of Kubo: took %d of %d blocks, pinned: %t", imported, blocks, pinned)
	}
	return nil
}

// importError gives Kubo's answer its kind.
func (n *Node) importError(err error) error {
	if says(err, "could not find") || says(err, "not found") {
		return jobspec.Failure{
			Kind:   jobspec.KindFetchTimeout,
			Detail: fmt.Sprintf("a block went from %s before it was pinned: %v", n, err),
			Hint:   "try again; Kubo's collector ran meanwhile",
		}.Error()
	}
	return err
}
