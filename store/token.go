package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Token names who may use the API. The secret itself is never stored.
type Token struct {
	Name    string // the tenant
	Created time.Time
}

// PutToken stores the SHA-256 of an API token's secret under the name of its
// tenant, in place of the tenant's former one.
func (tx *Tx) PutToken(t Token, hash [sha256.Size]byte) error {
	if err := tx.put(tokenTable, t.Name, hex.EncodeToString(hash[:]), t.Created.UTC().Format(time.RFC3339)); err != nil {
		return fmt.Errorf("put token of %s: %w", t.Name, err)
	}
	return nil
}

// TokenByHash returns the tenant whose token's secret has this SHA-256, or an
// error of kind E_NOT_FOUND.
func (tx *Tx) TokenByHash(hash [sha256.Size]byte) (tenant string, err error) {
	err = tx.get([]any{&tenant}, "such token", "SELECT name FROM tokens WHERE hash = ?", hex.EncodeToString(hash[:]))
	if err != nil {
		return "", fmt.Errorf("look up token: %w", err)
	}
	return tenant, nil
}

// Tokens returns all tokens by name.
func (tx *Tx) Tokens() (list []Token, err error) {
	var t Token
	var created string
	err = tx.each([]any{&t.Name, &created}, func() (err error) {
		t.Created, err = time.Parse(time.RFC3339, created)
		list = append(list, t)
		return err
	}, "SELECT name, created FROM tokens ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return list, nil
}

// Token returns the token of a tenant, or an error of kind E_NOT_FOUND.
func (tx *Tx) Token(name string) (Token, error) {
	list, err := tx.Tokens()
	if err != nil {
		return Token{}, err
	}
	if i := slices.IndexFunc(list, func(t Token) bool { return t.Name == name }); i >= 0 {
		return list[i], nil
	}
	return Token{}, jobspec.Failure{
		Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("there is no token %q", name), Hint: "`ipdc token list` shows the tokens",
	}.Error()
}

// DeleteToken removes the token of a tenant; without one it does nothing.
func (tx *Tx) DeleteToken(name string) error {
	if err := tx.exec("DELETE FROM tokens WHERE name = ?", name); err != nil {
		return fmt.Errorf("delete token of %s: %w", name, err)
	}
	return nil
}

// CountJobs returns how many jobs are in each state.
func (tx *Tx) CountJobs() (map[jobspec.JobState]int, error) {
	counts := map[jobspec.JobState]int{}
	var state string
	var n int
	err := tx.each([]any{&state, &n}, func() error { counts[jobspec.JobState(state)] = n; return nil },
		"SELECT state, count(*) FROM jobs GROUP BY state")
	if err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	return counts, nil
}

// CountLive returns how many jobs of a tenant are in no final state.
func (tx *Tx) CountLive(tenant string) (n int, err error) {
	if err := tx.get([]any{&n}, "count", "SELECT count(*) FROM jobs WHERE live = 1 AND tenant = ?", tenant); err != nil {
		return 0, fmt.Errorf("count jobs of %s: %w", tenant, err)
	}
	return n, nil
}
