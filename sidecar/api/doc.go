// Package api serves the sidecar over HTTP.
package api
