package api_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// twoRoots is the fixture's CAR with its file a/big named as a second root.
func twoRoots(t *testing.T, f fixture) []byte {
	t.Helper()
	head, err := jobspec.EncodeCBOR(map[string]any{"roots": []jobspec.CID{f.root, f.big}, "version": 1})
	if err != nil {
		t.Fatal(err)
	}
	var once bytes.Buffer
	m := ipfstest.NewMemory()
	if _, _, err := car.Read(t.Context(), bytes.NewReader(f.car), m, car.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := car.WriteOnce(t.Context(), &once, m, f.root); err != nil {
		t.Fatal(err)
	}
	return append(append([]byte{byte(len(head))}, head...), once.Bytes()[1+once.Bytes()[0]:]...)
}

func TestImport(t *testing.T) {
	e, f := start(t), newFixture(t)
	two := twoRoots(t, f)
	res, err := e.client().Import(t.Context(), bytes.NewReader(two), true)
	if err != nil || !res.Pinned || res.Bytes != int64(len(two)) || res.Blocks < 6 {
		t.Fatalf("Import = %+v, %v", res, err)
	}
	if diff := cmp.Diff([]string{f.root.String(), f.big.String()}, []string{res.Roots[0].String(), res.Roots[1].String()}); diff != "" {
		t.Errorf("roots (-want +got):\n%s", diff)
	}
	want := []string{"user/" + f.root.String(), "user/" + f.big.String()}
	if want[0] > want[1] {
		want[0], want[1] = want[1], want[0]
	}
	if diff := cmp.Diff(want, e.pins()); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
	if _, err := e.client().GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := download(t, e.client(), f.big, client.FormatRaw); !bytes.Equal(got, f.data) {
		t.Errorf("a/big has %d bytes, want %d", len(got), len(f.data))
	}
}

func TestImportWithoutPins(t *testing.T) {
	e, f := start(t), newFixture(t)
	res, err := e.client().Import(t.Context(), bytes.NewReader(f.car), false)
	if err != nil || res.Pinned || len(e.pins()) != 0 {
		t.Fatalf("Import = %+v, %v; pins %q, want none", res, err, e.pins())
	}
	if got := download(t, e.client(), f.big, client.FormatRaw); !bytes.Equal(got, f.data) { // until the next collection
		t.Errorf("a/big has %d bytes, want %d", len(got), len(f.data))
	}
}

func TestImportRefused(t *testing.T) {
	e, f := start(t, func(c *api.Config) { c.MaxUpload = 4 << 20 }), newFixture(t)
	two := twoRoots(t, f)
	flipped := bytes.Clone(two)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		body   []byte
		query  string
		status int
		kind   string
	}{
		"not a CAR":    {[]byte("hello world"), "", 422, "E_CAR_FORMAT"},
		"flipped bit":  {flipped, "", 422, "E_BLOCK_HASH"},
		"cut":          {two[:len(two)-1], "", 422, "E_CAR_FORMAT"},
		"not whole":    {withoutLast(t, f), "", 404, "E_FETCH_TIMEOUT"},
		"no root":      {[]byte("\x11\xa2eroots\x80gversion\x01"), "", 422, "E_CAR_ROOTS"},
		"too long":     {bytes.Repeat(f.car, 2), "", 413, "E_LIMIT_BYTES"},
		"what to pin?": {two, "?pin=maybe", 400, "E_SPEC"},
	} {
		t.Run(name, func(t *testing.T) {
			e := e.in(t)
			e.askSocket("POST", "/v1/dag/import"+c.query, string(c.body), carType).want(t, c.status, c.kind)
			if got := e.pins(); len(got) != 0 {
				t.Errorf("pins are left: %q", got)
			}
		})
	}
	e.askSocket("POST", "/v1/dag/import", string(two), "X: y").want(t, 415, "E_SPEC")
	e.askSocket("POST", "/v1/dag/import?pin=true", string(two), carType).want(t, 200, "") // control
}

// withoutLast is the fixture's CAR cut between two sections.
func withoutLast(t *testing.T, f fixture) []byte {
	t.Helper()
	return f.car[:bytes.LastIndex(f.car, []byte("top"))-37] // length 1, CID 36
}

func TestExportGivesEachBlockOnce(t *testing.T) {
	e, f := start(t), newFixture(t)
	if _, err := e.client().Upload(t.Context(), bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	body, err := e.client().Export(t.Context(), f.root)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	stats, err := car.WriteOnce(t.Context(), io.Discard, car.NewSource(body), f.root)
	if err != nil || stats.Blocks < 6 || stats.Bytes > int64(len(f.car)) {
		t.Errorf("export = %+v, %v", stats, err)
	}
	dag := "/v1/dag/" + f.root.String()
	e.askSocket("GET", dag+"?dups=maybe", "").want(t, 400, "E_SPEC")
	e.askSocket("GET", dag+"?format=tar&dups=n", "").want(t, 400, "E_SPEC")
}

func TestPins(t *testing.T) {
	e, f := start(t), newFixture(t)
	c, ctx := e.client(), t.Context()
	if _, err := c.Upload(ctx, bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	p, err := c.Pin(ctx, f.root.String()+"/a/big")
	if err != nil || p.CID != f.big || p.Kind != wire.PinUser || p.Created.IsZero() {
		t.Errorf("Pin = %+v, %v, want %s", p, err, f.big)
	}
	result := e.jobPin("alice", f.big)
	if list, err := c.Pins(ctx, false); err != nil || len(list) != 2 || list[0].CID != f.big {
		t.Errorf("Pins = %+v, %v, want the user's two, the newest first", list, err)
	}
	list, err := c.Pins(ctx, true)
	if err != nil || len(list) != 3 || list[0].Kind != "result" || list[0].Job != result {
		t.Errorf("Pins of all = %+v, %v", list, err)
	}
	if err := c.Unpin(ctx, f.root); err != nil {
		t.Errorf("Unpin = %v", err)
	}
	err = c.Unpin(ctx, f.root)
	if !isKind(err, jobspec.KindNotFound) || !strings.Contains(err.Error(), "is not pinned") {
		t.Errorf("Unpin of what is not pinned = %v", err)
	}
	if err := c.Unpin(ctx, f.big); err != nil {
		t.Errorf("Unpin = %v", err)
	}
	err = c.Unpin(ctx, f.big)
	if !isKind(err, jobspec.KindNotFound) || !strings.Contains(err.Error(), "result of job "+result.String()) {
		t.Errorf("Unpin of a job's result = %v, want the job named", err)
	}
	for path, kind := range map[string]jobspec.Kind{
		"nonsense": jobspec.KindSpec, f.root.String() + "/nothing": jobspec.KindNotFound,
		"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy": jobspec.KindFetchTimeout,
	} {
		if _, err := c.Pin(ctx, path); !isKind(err, kind) {
			t.Errorf("Pin(%q) = %v, want %s", path, err, kind)
		}
	}
	e.askSocket("GET", "/v1/pins?all=maybe", "").want(t, 400, "E_SPEC")
	e.askSocket("DELETE", "/v1/pins/nonsense", "").want(t, 400, "E_SPEC")
}

// A tenant sees no pin of another's jobs.
func TestPinsOfOtherTenants(t *testing.T) {
	e, f := start(t), newFixture(t)
	if _, err := e.client().Import(t.Context(), bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	e.jobPin("alice", f.big)
	for secret, want := range map[string]int{alice: 1, bob: 0} {
		list, err := e.dial("http://"+e.addr, client.WithToken(secret)).Pins(t.Context(), true)
		if err != nil || len(list) != want {
			t.Errorf("%s sees %+v, %v, want %d", secret, list, err, want)
		}
	}
}

// jobPin pins c as the result of a job of a tenant.
func (e *env) jobPin(tenant string, c jobspec.CID) jobspec.JobID {
	e.t.Helper()
	id := e.svc.add(tenant, "")
	if err := e.ipfs.Pin(e.t.Context(), "job/"+id.String()+"/result", c); err != nil {
		e.t.Fatal(err)
	}
	return id
}

// A tenant neither sees nor removes what another has pinned, and what one has
// pinned stays pinned for him whatever another does with the same CID.
func TestPinsAreOfTheirTenant(t *testing.T) {
	e, f := start(t), newFixture(t)
	if _, err := e.client().Import(t.Context(), bytes.NewReader(f.car), false); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	a, b := e.dial("http://"+e.addr, client.WithToken(alice)), e.dial("http://"+e.addr, client.WithToken(bob))
	if _, err := a.Pin(ctx, f.big.String()); err != nil {
		t.Fatal(err)
	}
	if list, err := b.Pins(ctx, true); err != nil || len(list) != 0 {
		t.Errorf("bob sees %+v, %v, want nothing of alice's", list, err)
	}
	if err := b.Unpin(ctx, f.big); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("bob's Unpin of alice's pin = %v, want E_NOT_FOUND", err)
	}
	if _, err := b.Pin(ctx, f.big.String()); err != nil {
		t.Fatal(err)
	}
	if err := b.Unpin(ctx, f.big); err != nil {
		t.Errorf("bob's Unpin of his own pin = %v", err)
	}
	if list, err := a.Pins(ctx, false); err != nil || len(list) != 1 || list[0].CID != f.big {
		t.Errorf("alice has %+v, %v, want her pin", list, err)
	}
	if list, err := e.client().Pins(ctx, false); err != nil || len(list) != 1 {
		t.Errorf("the node's own user sees %+v, %v, want alice's pin", list, err)
	}
	if _, err := b.GC(ctx); !errors.Is(err, jobspec.KindPolicy.Error()) {
		t.Errorf("bob's GC = %v, want E_POLICY", err)
	}
	if n, err := b.Node(ctx); err != nil || n.Path != "" || n.Socket != "" || n.PID != 0 || n.Degraded != nil {
		t.Errorf("bob is told of the host: %+v, %v", n, err)
	}
}
