package wire

import "time"

// Token is the name of somebody who may use the API over the port: a tenant.
type Token struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// TokenList is the answer of GET /v1/tokens, by name.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// TokenRequest is the body of POST /v1/tokens.
type TokenRequest struct {
	Name string `json:"name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$" example:"ci"` // a-z, 0-9, '.', '_' and '-'
}

// NewToken is the answer of POST /v1/tokens. The secret is told this once.
type NewToken struct {
	Token
	Secret string `json:"secret" example:"ipdc_5K3C..."`
}
