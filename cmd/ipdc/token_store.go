package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// ownTokenFile has the secret of the node's own user, for programs that use the
// port.
func (s settings) ownTokenFile() string { return filepath.Join(s.Path, "token") }

// ownToken makes the secret of the node's own user at the first start; only
// its hash is in the database.
func (n *node) ownToken(ctx context.Context) error {
	file := n.set.ownTokenFile()
	secret, err := readToken(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret = api.NewSecret()
		err = durable.WriteFile(file, []byte(secret+"\n"), 0o600)
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(secret))
	return n.store.Update(ctx, func(tx *store.Tx) error {
		if tenant, err := tx.TokenByHash(sum); err == nil && tenant == api.TenantLocal {
			return nil // as it was
		}
		return tx.PutToken(store.Token{Name: api.TenantLocal, Created: time.Now()}, sum)
	})
}

// tokens are the API's tokens in the store.
type tokens struct{ store *store.Store }

var _ api.TokenStore = tokens{}

// Tenant looks the token up at each request, so that revoking it holds at once.
func (t tokens) Tenant(ctx context.Context, hash [32]byte) (tenant string, ok bool) {
	err := t.store.View(ctx, func(tx *store.Tx) (err error) {
		tenant, err = tx.TokenByHash(hash)
		return err
	})
	return tenant, err == nil
}

func (t tokens) List(ctx context.Context) (list []wire.Token, err error) {
	err = t.store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Tokens()
		for _, tok := range all {
			list = append(list, wire.Token{Name: tok.Name, Created: tok.Created})
		}
		return err
	})
	return list, err
}

func (t tokens) Create(ctx context.Context, tok wire.Token, hash [32]byte) error {
	return t.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Token(tok.Name)
		switch {
		case errors.Is(err, jobspec.KindNotFound.Error()):
			return tx.PutToken(store.Token{Name: tok.Name, Created: tok.Created}, hash)
		case err != nil:
			return err
		}
		return jobspec.Failure{
			Kind: jobspec.KindConflict, Detail: fmt.Sprintf("there is a token %q already", tok.Name),
			Hint: "revoke it first: ipdc token revoke " + tok.Name,
		}.Error()
	})
}

func (t tokens) Revoke(ctx context.Context, name string) error {
	return t.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Token(name); err != nil {
			return err
		}
		return tx.DeleteToken(name)
	})
}
