package api_test

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

var _ api.TokenStore = (*tokens)(nil)

// tokens is a TokenStore in memory, with tokens of the two tenants and of the
// node's own user.
type tokens struct {
	mu     sync.Mutex
	byHash map[[32]byte]wire.Token
}

func newTokens() *tokens {
	t := &tokens{byHash: map[[32]byte]wire.Token{}}
	for name, secret := range map[string]string{"alice": alice, "bob": bob, api.TenantLocal: admin} {
		t.byHash[sha256.Sum256([]byte(secret))] = wire.Token{Name: name}
	}
	return t
}

func (t *tokens) Tenant(_ context.Context, sum [32]byte) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tok, ok := t.byHash[sum]
	return tok.Name, ok
}

func (t *tokens) List(context.Context) (list []wire.Token, _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tok := range t.byHash {
		list = append(list, tok)
	}
	slices.SortFunc(list, func(a, b wire.Token) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (t *tokens) Create(ctx context.Context, tok wire.Token, sum [32]byte) error {
	list, _ := t.List(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.ContainsFunc(list, func(o wire.Token) bool { return o.Name == tok.Name }) {
		return jobspec.KindConflict.Errorf("there is a token %q", tok.Name)
	}
	t.byHash[sum] = tok
	return nil
}

func (t *tokens) Revoke(_ context.Context, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for sum, tok := range t.byHash {
		if tok.Name == name {
			delete(t.byHash, sum)
			return nil
		}
	}
	return jobspec.KindNotFound.Errorf("there is no token %q", name)
}
