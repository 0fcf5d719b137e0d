package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/gateway"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

const files = 120 // of the tree that is fetched

func TestDAGByCAR(t *testing.T) {
	m := ipfstest.NewMemory()
	root := tree(t, m, files)
	o := newOrigin(t, m, nil)
	got, err := fetchAll(t, client(t, patient, o), root)
	if err != nil {
		t.Fatal(err)
	}
	wantWhole(t, m, got)
	if n := o.asked.Load(); n != 2 {
		t.Errorf("%d requests, want one for the root and one for the rest", n)
	}
}

func carOf(t *testing.T, m *ipfstest.Memory, root jobspec.CID) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := car.Write(t.Context(), &b, m, root); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// section is one block as it stands in a CAR. All CIDs here have 36 bytes.
func section(c jobspec.CID, data []byte) []byte {
	n := 36 + len(data)
	head := []byte{byte(n)}
	if n >= 128 {
		head = []byte{byte(n) | 128, byte(n >> 7)}
	}
	return append(append(head, c.Cid().Bytes()...), data...)
}

// carLies are answers to a request for a CAR; single blocks are honest.
func carLies(t *testing.T, m *ipfstest.Memory, root jobspec.CID) map[string]func(http.ResponseWriter, *http.Request) {
	whole := carOf(t, m, root)
	foreign := leaf(t, ipfstest.NewMemory(), "not asked for")
	header := whole[:1+int(whole[0])]
	send := func(parts ...[]byte) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.ipld.car")
			_, _ = w.Write(bytes.Join(parts, nil))
		}
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	return map[string]func(http.ResponseWriter, *http.Request){
		"a wrong last block":   send(flipped),
		"an unrequested block": send(header, section(foreign, []byte("not asked for")), whole[len(header):]),
		"unrequested at last":  send(whole[:len(whole)-300], section(foreign, []byte("not asked for"))),
		"a CAR that is cut":    send(whole[:len(whole)/2]),
		"a CAR without blocks": send(header),
		"no CAR at all":        send([]byte("<html>")),
		"an endless section":   send(header, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}),
		"501":                  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotImplemented) },
		"a web page":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"the root without end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.ipld.car")
			_, _ = w.Write(header)
			data, _ := m.Get(r.Context(), root)
			for again := section(root, data); ; {
				if _, err := w.Write(again); err != nil {
					return
				}
			}
		},
		"half a CAR and then nothing": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.ipld.car")
			_, _ = w.Write(whole[:len(whole)/2])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	}
}

func TestLyingCARs(t *testing.T) {
	m := ipfstest.NewMemory()
	root := tree(t, m, files)
	for name, lie := range carLies(t, m, root) {
		liar := func(t *testing.T) *origin {
			return newOrigin(t, m, func(w http.ResponseWriter, r *http.Request, c jobspec.CID) bool {
				if wantsCAR(r) && c == root {
					lie(w, r)
				}
				return wantsCAR(r) && c == root
			})
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := fetchAll(t, client(t, patient, liar(t)), root)
			if err != nil {
				t.Fatalf("DAG with honest single blocks: %v", err)
			}
			wantWhole(t, m, got)
		})
		t.Run(name+", with an honest gateway", func(t *testing.T) {
			t.Parallel()
			got, err := fetchAll(t, client(t, patient, liar(t), newOrigin(t, m, nil)), root)
			if err != nil {
				t.Fatal(err)
			}
			wantWhole(t, m, got)
		})
	}
}

// TestUnverifiedCARPasses is the control of TestLyingCARs.
func TestUnverifiedCARPasses(t *testing.T) {
	m := ipfstest.NewMemory()
	root := tree(t, m, files)
	lie := carLies(t, m, root)["a wrong last block"]
	c := client(t, patient, newOrigin(t, m, func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		if wantsCAR(r) {
			lie(w, r)
		}
		return wantsCAR(r)
	}))
	c.WithoutVerify()
	got, err := fetchAll(t, c, root)
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for id, data := range got {
		if want, err := m.Get(t.Context(), id); err != nil || !bytes.Equal(want, data) {
			wrong++
		}
	}
	if wrong != 1 {
		t.Errorf("%d wrong blocks without verification, want 1", wrong)
	}
}

func TestDAGThatNobodyHasWhole(t *testing.T) {
	m := ipfstest.NewMemory()
	root := tree(t, m, files)
	var missing jobspec.CID
	for _, c := range m.Blocks() {
		if c != root {
			missing = c
		}
	}
	m.Lose(missing)
	o := newOrigin(t, m, nil)
	got, err := fetchAll(t, client(t, time.Second, o), root)
	wantKind(t, err, jobspec.KindFetchTimeout, missing.String(), o.url, "404")
	if _, ok := got[missing]; ok {
		t.Error("the missing block was given")
	}
}

func TestDAGAboveItsLimit(t *testing.T) {
	m := ipfstest.NewMemory()
	root := tree(t, m, files)
	c, err := gateway.New(gateway.Config{URLs: []string{newOrigin(t, m, nil).url}, MaxBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = fetchAll(t, c, root)
	wantKind(t, err, jobspec.KindLimitBytes, "4KiB")
}

func TestDAGStopsAtPut(t *testing.T) {
	m := ipfstest.NewMemory()
	root := tree(t, m, files)
	full := errors.New("full")
	n := 0
	err := client(t, patient, newOrigin(t, m, nil)).DAG(t.Context(), []jobspec.CID{root}, func(jobspec.CID, []byte) error {
		if n++; n == 5 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || n != 5 {
		t.Errorf("DAG = %v after %d blocks, want put's error after 5", err, n)
	}
}
