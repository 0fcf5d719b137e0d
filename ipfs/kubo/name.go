package kubo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// nameTime is how long Kubo may look for what a name points to.
const nameTime = 20 * time.Second

// ResolveName returns what a name points to now, as Kubo finds it among its
// peers or in the DNS: "/ipns/" and a key or a domain, with nothing behind it.
// E_NOT_FOUND: the name points to nothing that Kubo finds; E_SPEC: it points
// into a file or a directory.
func (n *Node) ResolveName(ctx context.Context, name string) (jobspec.CID, error) {
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	q := url.Values{"arg": {name}, "recursive": {"true"}, "nocache": {"true"}, "dht-timeout": {"15s"}}
	data, err := n.rpc.dialled(ctx, "name/resolve", q, maxAnswer)
	if err != nil {
		return jobspec.CID{}, jobspec.Failure{
			Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("%.300s is not resolved: %v", name, err),
			Hint: "try it with that Kubo: ipfs name resolve --nocache " + name,
		}.Error()
	}
	var answer struct{ Path string }
	if err := json.Unmarshal(data, &answer); err != nil {
		return jobspec.CID{}, fmt.Errorf("resolve %.300s by Kubo: %w", name, err)
	}
	c, err := jobspec.ParseCID(strings.TrimSuffix(strings.TrimPrefix(answer.Path, "/ipfs/"), "/"))
	if err != nil {
		return jobspec.CID{}, jobspec.Failure{
			Kind: jobspec.KindSpec, Detail: fmt.Sprintf("%.300s points to %.300q, which is not a CID alone", name, answer.Path),
			Hint: "publish the root itself: ipfs name publish /ipfs/CID",
		}.Error()
	}
	return c, nil
}
