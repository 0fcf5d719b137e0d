package client_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
)

// The tasks of a gang are followed side by side: what one of them says is there
// while another one says nothing, and its lines begin with its name.
func TestLogsOfAGang(t *testing.T) {
	said := make(chan struct{}) // closed when the second task's line has come
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("task") {
		case "ps-0":
			w.(http.Flusher).Flush()
			<-said
			_, _ = io.WriteString(w, out(0, "at last\n")+logEnd)
		case "worker-0":
			_, _ = io.WriteString(w, out(1, "step 1\n")+logEnd)
		default:
			fmt.Fprint(w, `{"id":"01jd","spec":{"version":"ipdc/v1","stages":[{"name":"train","gang":{"roles":{"ps":1,"worker":1}}}]}}`)
		}
	}, client.WithRetry(time.Millisecond, time.Millisecond, 100*time.Millisecond))
	var got strings.Builder
	first := true
	err := c.Logs(t.Context(), "@last", true, writerFunc(func(b []byte) (int, error) {
		if first {
			first = false
			close(said)
		}
		return got.Write(b)
	}), nil)
	if want := "worker-0 | step 1\nps-0 | at last\n"; err != nil || got.String() != want {
		t.Errorf("Logs = %q, %v, want %q", got.String(), err, want)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
