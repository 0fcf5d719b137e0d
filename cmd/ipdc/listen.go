package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
)

// token makes the secret for the TCP API at the first start; only its hash is
// in the database.
func (n *node) token(ctx context.Context) error {
	file := filepath.Join(n.set.Path, "token")
	secret, err := readToken(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret = rand.Text()
		err = errors.Join(os.WriteFile(file+".tmp", []byte(secret+"\n"), 0o600), os.Rename(file+".tmp", file))
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(secret))
	return n.store.Update(ctx, func(tx *store.Tx) error { return tx.PutToken(api.TenantLocal, sum) })
}

// tenant finds whose token a request carries.
func (n *node) tenant(ctx context.Context, hash [32]byte) (string, bool) {
	var tenant string
	err := n.store.View(ctx, func(tx *store.Tx) (err error) {
		tenant, err = tx.TokenByHash(hash)
		return err
	})
	return tenant, err == nil
}

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
