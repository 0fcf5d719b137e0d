package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
)

const portKey = "api_port"

// listen opens the socket and the port. A port that was chosen by the system
// is kept for later starts.
func (n *node) listen(ctx context.Context) (err error) {
	socket := n.set.socket()
	if err := privateDir(filepath.Dir(socket)); err != nil {
		return err
	}
	if n.unix, err = api.ListenUnix(socket); err != nil {
		return err
	}
	n.onClose(closing(n.unix))
	addr, err := n.address(ctx)
	if err != nil {
		return err
	}
	if n.tcp, err = net.Listen("tcp", addr); err != nil {
		return fmt.Errorf("listen on %s: %w; give a free port with --listen 127.0.0.1:PORT", addr, err)
	}
	n.onClose(closing(n.tcp))
	_, port, _ := net.SplitHostPort(n.tcp.Addr().String())
	return n.store.Update(ctx, func(tx *store.Tx) error { return tx.PutMeta(portKey, port) })
}

const (
	socketFor   = 5 * time.Second
	socketEvery = 20 * time.Millisecond
)

// awaitSocket returns when a node listens, or none is about to: a service
// manager and docker run return before the node listens, and one that enters
// another domain does not for a moment. It takes no lock, which a node that
// starts would find taken.
func awaitSocket(dir, socket string) {
	for end := time.Now().Add(socketFor); time.Now().Before(end); time.Sleep(socketEvery) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		b, err := os.ReadFile(filepath.Join(dir, lockFile))
		if err != nil || !isNode(strings.TrimSpace(string(b))) {
			return
		}
	}
}

// isNode reports whether a process, by its number, runs this program. The number
// may be of a container, or of a process that is gone, and so be another one's.
func isNode(pid string) bool {
	this, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return false
	}
	other, err := os.ReadFile(filepath.Join("/proc", filepath.Base(pid), "comm"))
	return err == nil && bytes.Equal(this, other)
}

// closing closes a listener that a server may have closed before.
func closing(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (n *node) address(ctx context.Context) (string, error) {
	host, port, err := net.SplitHostPort(n.set.Listen)
	if err != nil {
		return "", usagef("--listen %q: %w", n.set.Listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", usagef("--listen %q: only a loopback address is allowed, such as 127.0.0.1:0", n.set.Listen)
	}
	if port == "0" {
		err = n.store.View(ctx, func(tx *store.Tx) error {
			kept, ok, err := tx.Meta(portKey)
			if ok {
				port = kept
			}
			return err
		})
	}
	return net.JoinHostPort(host, port), err
}

// privateDir makes a directory that only this user may enter, or refuses one
// that others own.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make socket directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Getuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("socket directory %s is not this user's own: set XDG_RUNTIME_DIR or a shorter IPDC_PATH", dir)
	}
	return nil
}

// apiConfig is the API of this node.
func (n *node) apiConfig(sc *sidecar.Sidecar) api.Config {
	s := n.set
	cfg := api.Config{
		Service: sc, Schedules: sc, Datasets: n.datasets, IPFS: n.ipfs, Tokens: tokens{n.store}, Registry: n.registry, Version: version, Logger: n.log,
		MaxUpload: int64(s.APIUpload), MaxConns: s.APIMaxConns, Rate: s.APIRate, Timeout: s.APITimeout.Std(), Grace: s.APIGrace.Std(),
		Room: n.room, Budget: s.inputBudget(), BodyStall: s.APIBodyStall.Std(), UploadTime: s.APIUploadTime.Std(), EventStall: s.APIEventStall.Std(), StreamStall: s.APIStreamStall.Std(),
	}
	if n.attached != nil {
		cfg.Attachments = n.attached
	}
	if n.swarm != nil {
		cfg.Swarm, cfg.Errands, cfg.Streams = n.swarm, sc, n.swarm.streams
	}
	return cfg
}
