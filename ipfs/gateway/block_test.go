package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs/gateway"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/jobspec"
)

// patient is long enough for an honest gateway on a busy machine, and its
// share short enough to wait out a stalled one.
const patient = 4 * time.Second

// lies are the answers of gateways that must not be believed, to a request for
// one block.
var lies = map[string]struct {
	lie  func(http.ResponseWriter, *http.Request, jobspec.CID) bool
	says string
}{
	"wrong bytes": {func(w http.ResponseWriter, _ *http.Request, _ jobspec.CID) bool {
		raw(w, []byte("a lie"))
		return true
	}, "E_BLOCK_HASH"},
	"nothing": {func(w http.ResponseWriter, _ *http.Request, _ jobspec.CID) bool {
		raw(w, nil)
		return true
	}, "E_BLOCK_HASH"},
	"too many bytes": {func(w http.ResponseWriter, _ *http.Request, _ jobspec.CID) bool {
		raw(w, make([]byte, 2<<20+1))
		return true
	}, "E_LIMIT_BYTES"},
	"endless bytes": {func(w http.ResponseWriter, _ *http.Request, _ jobspec.CID) bool {
		w.Header().Set("Content-Type", "application/vnd.ipld.raw")
		endless(w)
		return true
	}, "E_LIMIT_BYTES"},
	"fewer bytes than declared": {func(w http.ResponseWriter, _ *http.Request, _ jobspec.CID) bool {
		w.Header().Set("Content-Length", "100")
		raw(w, []byte("hel"))
		return true
	}, "broke off"},
	"a web page": {func(w http.ResponseWriter, _ *http.Request, _ jobspec.CID) bool {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<html>please log in</html>")
		return true
	}, "text/html"},
	"a compressed body": {func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		w.Header().Set("Content-Encoding", "gzip")
		raw(w, []byte("\x1f\x8b\x08\x00"))
		return true
	}, "E_BLOCK_HASH"},
	"a redirect loop": {func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		http.Redirect(w, r, r.URL.String()+"&again=1", http.StatusFound)
		return true
	}, "redirects"},
	"a redirect to another host": {func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		return true
	}, "another host"},
	"headers and then nothing": {func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		w.Header().Set("Content-Type", "application/vnd.ipld.raw")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	}, "no answer"},
	"a slow drip": {func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		w.Header().Set("Content-Type", "application/vnd.ipld.raw")
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = w.Write([]byte("h"))
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return true
			}
		}
	}, "no answer"},
	"no answer": {func(_ http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		<-r.Context().Done()
		return true
	}, "no answer"},
	"404": {func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		http.NotFound(w, r)
		return true
	}, "404 Not Found"},
	"429": {func(w http.ResponseWriter, r *http.Request, _ jobspec.CID) bool {
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}, "429 Too Many Requests"},
}

func TestLiesGiveNoBlock(t *testing.T) {
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := ipfstest.NewMemory()
			id := leaf(t, m, "hello")
			liar := newOrigin(t, m, l.lie)
			data, err := client(t, time.Second, liar).Block(t.Context(), id)
			wantKind(t, err, jobspec.KindFetchTimeout, liar.url, l.says, id.String())
			if data != nil {
				t.Errorf("Block = %q with an error", data)
			}
			if hint := jobspec.AsFailure(err).Hint; !strings.Contains(hint, "--gateway URL") {
				t.Errorf("hint %q does not say what to do", hint)
			}
		})
	}
}

func TestHonestGatewayWins(t *testing.T) {
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := ipfstest.NewMemory()
			liar, honest := newOrigin(t, m, l.lie), newOrigin(t, m, nil)
			c := client(t, patient, liar, honest)
			data, err := c.Block(t.Context(), leaf(t, m, "hello"))
			if err != nil || string(data) != "hello" {
				t.Fatalf("Block = %q, %v", data, err)
			}
			before := liar.asked.Load()
			if data, err = c.Block(t.Context(), leaf(t, m, "again")); err != nil || string(data) != "again" {
				t.Fatalf("second Block = %q, %v", data, err)
			}
			if name != "404" && liar.asked.Load() != before {
				t.Error("the bad gateway was asked first again")
			}
		})
	}
}

// TestUnverifiedLiePasses is the control of the tests above: it is the check
// that keeps the lie out.
func TestUnverifiedLiePasses(t *testing.T) {
	m := ipfstest.NewMemory()
	c := client(t, patient, newOrigin(t, m, lies["wrong bytes"].lie))
	c.WithoutVerify()
	data, err := c.Block(t.Context(), leaf(t, m, "hello"))
	if err != nil || string(data) != "a lie" {
		t.Errorf("Block without verification = %q, %v, want the lie", data, err)
	}
}

func TestRedirectBelowItself(t *testing.T) {
	m := ipfstest.NewMemory()
	id := leaf(t, m, "hello")
	var port string
	o := newOrigin(t, m, func(w http.ResponseWriter, r *http.Request, c jobspec.CID) bool {
		if strings.HasPrefix(r.Host, c.String()+".ipfs.localhost:") {
			return false
		}
		http.Redirect(w, r, "http://"+c.String()+".ipfs.localhost:"+port+r.URL.Path+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
		return true
	})
	port = o.url[strings.LastIndex(o.url, ":")+1:]
	o.url = "http://localhost:" + port + "/ipfs/"
	data, err := client(t, patient, o).Block(t.Context(), id)
	if err != nil || string(data) != "hello" {
		t.Errorf("Block by a name per CID = %q, %v", data, err)
	}
}

func TestBusyGatewayIsAskedAgain(t *testing.T) {
	m := ipfstest.NewMemory()
	id := leaf(t, m, "hello")
	var o *origin
	o = newOrigin(t, m, func(w http.ResponseWriter, _ *http.Request, _ jobspec.CID) bool {
		first := o.asked.Load() == 1
		if first {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return first
	})
	if data, err := client(t, patient, o).Block(t.Context(), id); err != nil || string(data) != "hello" {
		t.Errorf("Block = %q, %v", data, err)
	}
}

func TestWhatNeedsNoGateway(t *testing.T) {
	o := newOrigin(t, ipfstest.NewMemory(), nil)
	c := client(t, patient, o)
	_, err := c.Block(t.Context(), jobspec.CID{})
	wantKind(t, err, jobspec.KindCIDHash)
	identity, err := jobspec.ParseCID("bafkqablimvwgy3y") // "hello"
	if err != nil {
		t.Fatal(err)
	}
	if data, err := c.Block(t.Context(), identity); err != nil || string(data) != "hello" {
		t.Errorf("Block of an identity CID = %q, %v", data, err)
	}
	if n := o.asked.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "ipfs.io", "ftp://x", "https://", "https://u:p@x", "https://x/?a=b", "https://x#y", "http://[::1"} {
		if _, err := gateway.New(gateway.Config{URLs: []string{bad}}); err == nil {
			t.Errorf("New(%q) passes", bad)
		}
	}
	if _, err := gateway.New(gateway.Config{}); err == nil {
		t.Error("New without a gateway passes")
	}
}
