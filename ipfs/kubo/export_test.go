package kubo

import "net/http"

// Through makes calls go another way than over the network.
func (n *Node) Through(t http.RoundTripper) { n.rpc.client.Transport = t }
