// Package gateway fetches public data from trustless gateways: single blocks
// and whole DAGs, each block checked against its CID before anyone sees it.
// https://specs.ipfs.tech/http-gateways/trustless-gateway/
//
//	c, err := gateway.New(gateway.Config{URLs: []string{"https://trustless-gateway.link"}})
//	data, err := c.Block(ctx, id)
//	err = c.DAG(ctx, []jobspec.CID{root}, func(id jobspec.CID, data []byte) error { return store(id, data) })
//
// Invariants: no block leaves this package whose bytes do not hash to its CID,
// and DAG gives no block that its roots do not lead to; memory is bounded by
// the blocks that are under way, whatever a gateway sends; a fetch that makes
// no progress ends after Config.Wait and names the gateways that were asked.
package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// Config is what a Client is made of. URLs is required.
type Config struct {
	// URLs of gateways, in order of preference: http or https, without query
	// and user. A gateway that lied or was slow comes last for a while.
	URLs []string
	// Wait is how long a fetch goes on without a new block; default 30 s.
	Wait time.Duration
	// MaxBytes of one DAG; default 10 GiB, the bound of a job's input.
	MaxBytes int64
	// MaxFetches is how many blocks and DAGs are fetched at once; others
	// wait, and their time begins later. Default 64.
	MaxFetches int
	Logger     *slog.Logger // default: no log
}

// Client fetches from a list of gateways. Its methods may be called
// concurrently.
type Client struct {
	cfg      Config
	log      *slog.Logger
	gateways []*gateway
	slots    chan struct{}
	verify   func(jobspec.CID, []byte) error
}

// New returns a Client. It does no I/O.
func New(cfg Config) (*Client, error) {
	cfg.Wait = cmp.Or(cfg.Wait, 30*time.Second)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 10<<30)
	cfg.MaxFetches = cmp.Or(cfg.MaxFetches, 64)
	c := &Client{cfg: cfg, log: cfg.Logger, slots: make(chan struct{}, cfg.MaxFetches), verify: dag.Verify}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.URLs) == 0 {
		return nil, errors.New("gateway: no URL")
	}
	tr := transport()
	for _, text := range cfg.URLs {
		base, err := parse(text)
		if err != nil {
			return nil, err
		}
		c.gateways = append(c.gateways, &gateway{
			base: base,
			http: &http.Client{Transport: tr, CheckRedirect: sameHost(base)},
		})
	}
	return c, nil
}

// Close drops idle connections.
func (c *Client) Close() error {
	c.gateways[0].http.CloseIdleConnections() // all share one transport
	return nil
}

// parse accepts the address of a gateway with or without /ipfs at its end.
func parse(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil:
		return nil, fmt.Errorf("gateway %q: %w", text, err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("gateway %q: want an address such as https://trustless-gateway.link", text)
	case u.User != nil:
		return nil, fmt.Errorf("gateway at %s: a user or password in the address is not supported", u.Host)
	case u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("gateway %q: the address must end with its path", text)
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/ipfs")
	return u, nil
}
