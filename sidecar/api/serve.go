package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Serve answers on both listeners, either of which may be nil, until ctx ends
// or one of them fails. It closes them. When it returns no handler is running:
// event and log streams end at once, other requests have Config.Grace. It may
// be called once.
//
// The socket must be closed to other users, and the port must be of a loopback
// address, since what it speaks is not encrypted.
func (a *API) Serve(ctx context.Context, unix, tcp net.Listener) error {
	defer closeAll(unix, tcp)
	if err := checkListeners(unix, tcp); err != nil {
		return err
	}
	if err := a.dropUploads(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if a.cfg.Streams != nil {
		a.cfg.Streams.Handle(memberProtocol, a.serveMember)
		defer a.cfg.Streams.Handle(memberProtocol, nil)
		a.cfg.Streams.Handle(taskProtocol, a.serveTask)
		defer a.cfg.Streams.Handle(taskProtocol, nil)
	}
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	g, gctx := errgroup.WithContext(ctx)
	var servers []*http.Server
	for _, l := range []net.Listener{unix, tcp} {
		if l == nil {
			continue
		}
		s := a.server(base, l == unix)
		servers = append(servers, s)
		g.Go(func() error {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve API on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		return a.endHolds(gctx)
	})
	g.Go(func() error {
		<-gctx.Done()
		a.shutdown(base, cancel, servers)
		return nil
	})
	return g.Wait()
}

func (a *API) server(base context.Context, socket bool) *http.Server {
	s := &http.Server{
		Handler:           a.Handler(socket),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	if !socket {
		s.ConnState = capConns(a.cfg.MaxConns)
	}
	return s
}

// capConns closes connections over the cap as they come. The socket has no
// cap, so that the node's own user gets through while the port is flooded.
func capConns(most int) func(net.Conn, http.ConnState) {
	var mu sync.Mutex
	n := 0
	return func(c net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch s {
		case http.StateNew:
			if n++; n > most {
				_ = c.Close() // the server then reports it as closed
			}
		case http.StateClosed, http.StateHijacked:
			n--
		}
	}
}

// shutdown ends all servers and returns when no handler runs.
func (a *API) shutdown(base context.Context, cancel context.CancelCauseFunc, servers []*http.Server) {
	a.stop()
	ctx, stop := context.WithTimeout(base, a.cfg.Grace)
	defer stop()
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				a.log.Warn("requests were cut at shutdown", "err", err)
			}
		})
	}
	wg.Wait()
	cancel(errStopping)
	for _, s := range servers {
		_ = s.Close() // frees handlers that are blocked in a write
	}
	<-a.active.close()
}

func closeAll(ls ...net.Listener) {
	for _, l := range ls {
		if l != nil {
			_ = l.Close() // a server has closed it already
		}
	}
}

func checkListeners(unix, tcp net.Listener) error {
	if unix != nil {
		path := unix.Addr().String()
		fi, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("check socket: %w", err)
		}
		if fi.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("socket %s has mode %o and is open to other users; it must be 600", path, fi.Mode().Perm())
		}
	}
	if tcp != nil {
		ap, err := netip.ParseAddrPort(tcp.Addr().String())
		if err != nil || !ap.Addr().IsLoopback() {
			return fmt.Errorf("API address %s is not on loopback; plain HTTP is served on 127.0.0.1 only", tcp.Addr())
		}
	}
	return nil
}

// requests counts running handlers, so that Serve returns after the last one.
type requests struct {
	mu     sync.Mutex
	n      int
	closed chan struct{} // made by close, closed by the last leave
}

// enter reports whether the request may run.
func (q *requests) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return false
	}
	q.n++
	return true
}

func (q *requests) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n--; q.n == 0 && q.closed != nil {
		close(q.closed)
	}
}

// close lets no more in; the channel is closed when all have left.
func (q *requests) close() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = make(chan struct{})
	if q.n == 0 {
		close(q.closed)
	}
	return q.closed
}
