// Package api serves a sidecar over HTTP: JSON, event streams, logs and DAGs.
// The same handler stands on a unix socket, where file permissions are the
// login, and on a loopback port, where each request carries a token.
//
//	a := api.New(api.Config{Service: sc, IPFS: node, Tokens: tokens, Version: v})
//	socket, err := api.ListenUnix(path)
//	port, err := net.Listen("tcp", "127.0.0.1:0")
//	err = a.Serve(ctx, socket, port) // until ctx ends
//
// docs/api.md lists the endpoints; GET /openapi.json describes them.
//
// Invariants: every answer of status 400 and above is a wire.Problem whose
// kind decides its status by one table; a tenant sees its own jobs only; a
// token is accepted in the Authorization header only and never logged; no
// browser page of another origin gets an answer; what a client sends never
// becomes part of a file path; a slow, cut or hostile client costs one
// connection for a bounded time; an upload that is cut leaves no pin; a stream
// that could not be finished never looks finished.
package api
