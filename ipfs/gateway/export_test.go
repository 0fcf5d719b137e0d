package gateway

import "github.com/ipdc/ipdc/jobspec"

// WithoutVerify lets everything pass, to show what a lie would do.
func (c *Client) WithoutVerify() { c.verify = func(jobspec.CID, []byte) error { return nil } }
