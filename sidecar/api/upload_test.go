package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

func TestUploadRootLast(t *testing.T) {
	e := start(t)
	pr, pw := io.Pipe()
	var want jobspec.CID
	goTest(t, func() {
		var err error
		want, _, err = pack.File(t.Context(), car.NewWriter(pw), strings.NewReader(strings.Repeat("x", 3<<20)))
		_ = pw.CloseWithError(err)
	})
	added, err := e.client().Upload(t.Context(), pr, true)
	if err != nil || added.CID != want {
		t.Errorf("Upload = %+v, %v, want %s", added, err, want)
	}
}

func TestUploadRefused(t *testing.T) {
	e, f := start(t, func(c *api.Config) { c.MaxUpload = 4 << 20 }), newFixture(t)
	flipped := bytes.Clone(f.car)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		body   []byte
		query  string
		header string
		status int
		kind   string
	}{
		"not a CAR":    {[]byte("hello world"), "", carType, 422, "E_CAR_FORMAT"},
		"empty":        {nil, "", carType, 422, "E_CAR_FORMAT"},
		"flipped bit":  {flipped, "", carType, 422, "E_BLOCK_HASH"},
		"cut":          {f.car[:len(f.car)-1], "", carType, 422, "E_CAR_FORMAT"},
		"too long":     {bytes.Repeat(f.car, 2), "", carType, 413, "E_LIMIT_BYTES"},
		"JSON":         {f.car, "", asJSON, 415, "E_SPEC"},
		"no type":      {f.car, "", "X: y", 415, "E_SPEC"},
		"unknown root": {f.car, "?root=middle", carType, 400, "E_SPEC"},
	} {
		t.Run(name, func(t *testing.T) {
			e := e.in(t)
			r := e.askSocket("POST", "/v1/dag"+c.query, string(c.body), c.header)
			r.want(t, c.status, c.kind)
			if got := e.pins(); len(got) != 0 {
				t.Errorf("pins are left: %q", got)
			}
		})
	}
	t.Run("refused in the middle of a long stream", func(t *testing.T) {
		endless := io.MultiReader(bytes.NewReader(f.car), zeros{})
		_, err := e.client().Upload(t.Context(), io.LimitReader(endless, 1<<40), false)
		if !isKind(err, jobspec.KindCARFormat) && !isKind(err, jobspec.KindLimitBytes) {
			t.Errorf("Upload = %v, want the node's reason and no broken pipe", err)
		}
	})
	t.Run("a client that waits for the answer before it goes on", func(t *testing.T) {
		c, err := net.Dial("unix", e.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // well below Config.BodyStall
		fmt.Fprintf(c, "POST /v1/dag HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: 1000000\r\n\r\n\x00", carType)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	})
	t.Run("a client that reads the answer only at the end", func(t *testing.T) {
		c, err := net.Dial("unix", e.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		const size = 3 << 20
		fmt.Fprintf(c, "POST /v1/dag HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: %d\r\n\r\n", carType, size)
		if _, err := io.CopyN(c, zeros{}, size); err != nil {
			t.Errorf("sending a body that is refused = %v", err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("status = %d, want 422", resp.StatusCode)
		}
	})
	e.askSocket("POST", "/v1/dag", string(f.car), carType).want(t, 200, "") // control
}

const carType = "Content-Type: application/vnd.ipld.car"

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestF70H21CutUploads(t *testing.T) {
	e, f := start(t), newFixture(t)
	before, err := e.ipfs.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		at := i * (len(f.car) - 1) / 49
		c, err := net.Dial("unix", e.socket)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /v1/dag HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: %d\r\n\r\n", carType, len(f.car))
		if _, err := c.Write(f.car[:at]); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	e.stop() // returns when no handler runs
	if got := e.pins(); len(got) != 0 {
		t.Errorf("H21: pins are left: %q", got)
	}
	if _, err := e.ipfs.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := e.ipfs.Stat(t.Context())
	if err != nil || after != before {
		t.Errorf("H21: %+v blocks before, %+v after, %v", before, after, err)
	}
}

func TestH21StalledUpload(t *testing.T) {
	e, f := start(t, func(c *api.Config) { c.BodyStall = 50 * time.Millisecond }), newFixture(t)
	pr, pw := io.Pipe()
	goTest(t, func() {
		_, _ = pw.Write(f.car[:1000])
		<-t.Context().Done()
		_ = pw.Close()
	})
	_, err := e.client().Upload(t.Context(), pr, false)
	if !isKind(err, jobspec.KindFetchTimeout) {
		t.Errorf("Upload that stalls = %v, want E_FETCH_TIMEOUT", err)
	}
	if got := e.pins(); len(got) != 0 {
		t.Errorf("pins are left: %q", got)
	}
}

// One that never stalls, and never ends.
func TestUploadTime(t *testing.T) {
	e, f := start(t, func(c *api.Config) { c.UploadTime = 50 * time.Millisecond }), newFixture(t)
	pr, pw := io.Pipe()
	goTest(t, func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for _, b := range f.car[:len(f.car)-1] {
			if _, err := pw.Write([]byte{b}); err != nil {
				return
			}
			<-tick.C
		}
	})
	_, err := e.client().Upload(t.Context(), pr, false)
	if !isKind(err, jobspec.KindLimit) || !strings.Contains(err.Error(), "50ms") || !strings.Contains(jobspec.AsFailure(err).Hint+fmt.Sprint(err), "api-upload-time") {
		t.Errorf("Upload that takes for ever = %v, want E_LIMIT and the setting", err)
	}
	pr.Close()
	if got := e.pins(); len(got) != 0 {
		t.Errorf("pins are left: %q", got)
	}
}

func TestH21CrashBetweenPins(t *testing.T) {
	e, f := start(t), newFixture(t)
	if _, err := e.client().Upload(t.Context(), bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if err := e.ipfs.Pin(t.Context(), "upload/left by a crash", f.root); err != nil {
		t.Fatal(err)
	}
	e.again()
	if diff := cmp.Diff([]string{"user/" + f.root.String()}, e.pins()); diff != "" {
		t.Errorf("pins after a restart (-want +got):\n%s", diff)
	}
}
