package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/proxy"
)

// Whatever a program sends, no name is looked up but a granted one: N07 N09.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
		"CONNECT good.example:443@evil.example:443 HTTP/1.1\r\n\r\n",
		"GET http://good.example:443/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET http://evil.example#good.example:443/ HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
		"GET http://good.example:443/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nGET http://evil.example/ HTTP/1.1\r\n\r\n",
		"GET http://good.example:443\\@evil.example/ HTTP/1.0\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	looked := make(chan string, 1<<16)
	dir := f.TempDir()
	p, err := proxy.Open(dir, []jobspec.Endpoint{{Host: "good.example", Port: 443}}, proxy.Config{
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			looked <- host
			return nil, errors.New("nothing is reached here")
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = p.Close() })
	f.Fuzz(func(t *testing.T, request []byte) {
		c, err := net.Dial("unix", dir+"/"+proxy.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = c.Write(request) // the server may answer before it has read all
		_ = c.(*net.UnixConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		for {
			select {
			case host := <-looked:
				if host != "good.example" {
					t.Fatalf("%q is looked up for %q", host, request)
				}
				continue
			default:
			}
			return
		}
	})
}
