package client

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// The environment that `ipdc NAME` gives to the program ipdc-NAME.
const (
	// EnvAddress is the variable with the address of the node's API.
	EnvAddress = "IPDC_ADDRESS"
	// EnvTokenFile is the variable with the path of a file that holds the
	// token for it. A unix socket needs none.
	EnvTokenFile = "IPDC_TOKEN_FILE"
)

// FromEnv returns a client of the node that a program ipdc-NAME is to work
// with, as `ipdc NAME` tells it in the environment; opts come after what is
// found there. It reads the token's file and does no other I/O.
func FromEnv(opts ...Option) (*Client, error) {
	addr := os.Getenv(EnvAddress)
	if addr == "" {
		return nil, errors.New(EnvAddress + " is not set: run the program ipdc-NAME as ipdc NAME, " +
			"or set it to the address of a node (ipdc node status shows it)")
	}
	if file := os.Getenv(EnvTokenFile); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read token of %s: %w", EnvTokenFile, err)
		}
		opts = append([]Option{WithToken(strings.TrimSpace(string(b)))}, opts...)
	}
	return New(addr, opts...)
}
