package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// TokenStore holds who may use the port. Only hashes of secrets reach it; as
// they are what is compared, comparing takes no time that depends on a secret.
type TokenStore interface {
	// Tenant returns the tenant of the token whose secret has this SHA-256.
	Tenant(ctx context.Context, secretSHA256 [32]byte) (tenant string, ok bool)
	// List returns all tokens by name.
	List(ctx context.Context) ([]wire.Token, error)
	// Create stores a token; E_CONFLICT when the name is taken.
	Create(ctx context.Context, t wire.Token, secretSHA256 [32]byte) error
	// Revoke removes a token; E_NOT_FOUND without one of that name.
	Revoke(ctx context.Context, name string) error
}

// secretPrefix makes a secret known to programs that look for leaked ones.
const secretPrefix = "ipdc_"

// NewSecret returns the secret of a token: 130 random bits.
func NewSecret() string { return secretPrefix + rand.Text() }

type (
	tokenNameInput struct {
		Name string `path:"name" doc:"Name of the token, which is its tenant" example:"ci"`
	}
	createdAnswer[T any] struct {
		Location string `header:"Location"`
		Body     T
	}
)

func (a *API) registerTokens(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "tokens", Method: http.MethodGet, Path: "/v1/tokens", Summary: "List the API tokens. Only the node's own user may",
	}, func(ctx context.Context, _ *nothing) (*answer[wire.TokenList], error) {
		if err := adminOnly(ctx); err != nil {
			return nil, err
		}
		list, err := a.cfg.Tokens.List(ctx)
		return &answer[wire.TokenList]{wire.TokenList{Tokens: append([]wire.Token{}, list...)}}, err
	})
	register(a, h, takesJSON(a, h, wire.TokenRequest{Name: "ci"}, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens", DefaultStatus: http.StatusCreated,
		Summary: "Make an API token. The answer tells its secret, once. Only the node's own user may",
	}), a.createToken)
	register(a, h, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: "/v1/tokens/{name}",
		Summary: "Revoke an API token at once; its jobs stay. Only the node's own user may",
	}, a.revokeToken)
}

// tokenName is what a tenant may be called.
var tokenName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

func (a *API) createToken(ctx context.Context, in *jsonInput) (*createdAnswer[wire.NewToken], error) {
	if err := adminOnly(ctx); err != nil {
		return nil, err
	}
	req, err := decode[wire.TokenRequest](in)
	if err != nil {
		return nil, err
	}
	if !tokenName.MatchString(req.Name) {
		return nil, refuseSpec("name", "a token's name is 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins and ends with a letter or digit")
	}
	secret := NewSecret()
	t := wire.Token{Name: req.Name, Created: time.Now().UTC().Truncate(time.Second)}
	if err := a.cfg.Tokens.Create(ctx, t, sha256.Sum256([]byte(secret))); err != nil {
		return nil, err
	}
	a.log.Info("token created", "tenant", t.Name)
	return &createdAnswer[wire.NewToken]{"/v1/tokens/" + t.Name, wire.NewToken{Token: t, Secret: secret}}, nil
}

func (a *API) revokeToken(ctx context.Context, in *tokenNameInput) (*nothing, error) {
	if err := adminOnly(ctx); err != nil {
		return nil, err
	}
	if in.Name == TenantLocal {
		return nil, jobspec.Failure{
			Kind: jobspec.KindPolicy, Detail: "the token of the node's own user is not revoked",
			Hint: "remove the file token in the state directory and start the node again: it makes a new one",
		}.Error()
	}
	if !tokenName.MatchString(in.Name) {
		return nil, jobspec.KindNotFound.Errorf("no token has this name")
	}
	if err := a.cfg.Tokens.Revoke(ctx, in.Name); err != nil {
		return nil, err
	}
	a.sessions.revoke(in.Name)
	a.log.Info("token revoked", "tenant", in.Name)
	return nil, nil
}

// adminOnly keeps other tenants out.
func adminOnly(ctx context.Context) error {
	if tenantOf(ctx) == TenantLocal {
		return nil
	}
	return jobspec.Failure{
		Kind: jobspec.KindPolicy, Detail: "this is for the node's own user only",
		Hint: "use the node's unix socket, or the token in its state directory",
	}.Error()
}

// noTokens is for an API that is served over the socket only.
type noTokens struct{}

func (noTokens) Tenant(context.Context, [32]byte) (string, bool)    { return "", false }
func (noTokens) List(context.Context) ([]wire.Token, error)         { return nil, nil }
func (noTokens) Revoke(context.Context, string) error               { return errNoTokens }
func (noTokens) Create(context.Context, wire.Token, [32]byte) error { return errNoTokens }

var errNoTokens = fmt.Errorf("%w: this node has no tokens", jobspec.KindPolicy.Error())
