package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

const someImage = jobspec.ImageID("sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")

// PullImage of "late" fails after it has begun, of "missing" at once.
func (s *service) PullImage(_ context.Context, ref string, progress func(done, total int64)) (wire.Image, error) {
	if ref == "missing" {
		return wire.Image{}, jobspec.KindImageRef.Errorf("no such image")
	}
	for done := int64(0); done <= 4<<20; done += 64 << 10 {
		progress(done, 4<<20)
	}
	if ref == "late" {
		return wire.Image{}, jobspec.KindPullStall.Errorf("nothing came")
	}
	return wire.Image{ID: someImage, Ref: ref}, nil
}

func (s *service) PushImage(_ context.Context, _, ref string) (p wire.PushedImage, err error) {
	p.Image = wire.Image{ID: someImage, Ref: ref}
	p.CID, err = jobspec.ParseCID("bafkqaaa")
	return p, err
}

func (s *service) RemoveImage(_ context.Context, ref string) (wire.Image, error) {
	return wire.Image{ID: someImage, Ref: ref}, nil
}

func TestPullImage(t *testing.T) {
	e := start(t)
	c := e.client()
	lines, last := 0, int64(0)
	img, err := c.PullImage(t.Context(), "debian:12", func(done, total int64) {
		if done < last || total != 4<<20 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		lines, last = lines+1, done
	})
	if err != nil || img.ID != someImage || img.Ref != "debian:12" {
		t.Errorf("PullImage = %+v, %v", img, err)
	}
	if lines != 5 {
		t.Errorf("%d lines of progress for 4 MiB, want one per MiB", lines)
	}
	for ref, want := range map[string]jobspec.Kind{"missing": jobspec.KindImageRef, "late": jobspec.KindPullStall, "UPPER": jobspec.KindImageRef} {
		if _, err := c.PullImage(t.Context(), ref, nil); !errors.Is(err, want.Error()) {
			t.Errorf("PullImage(%s) = %v, want %s", ref, err, want)
		}
	}
	e.ask("POST", "/v1/images/pull?ref=missing", "", bearer(alice)).want(t, http.StatusUnprocessableEntity, "E_IMAGE_REF")
	e.ask("POST", "/v1/images/pull?image=x", "", bearer(alice)).want(t, http.StatusBadRequest, "E_SPEC")
}

func TestPushAndRemoveImage(t *testing.T) {
	e := start(t)
	c := e.client()
	p, err := c.PushImage(t.Context(), "my/tool:1")
	if err != nil || p.CID.String() != "bafkqaaa" || p.Image.Ref != "my/tool:1" {
		t.Errorf("PushImage = %+v, %v", p, err)
	}
	if _, err := c.PushImage(t.Context(), "UPPER"); !errors.Is(err, jobspec.KindImageRef.Error()) {
		t.Errorf("PushImage(UPPER) = %v, want E_IMAGE_REF", err)
	}
	if img, err := c.RemoveImage(t.Context(), "my/tool:1"); err != nil || img.Ref != "my/tool:1" {
		t.Errorf("RemoveImage = %+v, %v", img, err)
	}
	e.ask("DELETE", "/v1/images?ref=my/tool:1", "", bearer(alice)).want(t, http.StatusForbidden, "E_POLICY")
	r := e.ask("POST", "/v1/images/push?ref=x", "", bearer(alice))
	r.want(t, http.StatusOK, "")
	if !json.Valid(r.body) {
		t.Errorf("answer = %s", r.body)
	}
}
