package repo

import (
	"encoding/json"
	"strings"
)

// rule says what a key of the configuration becomes. Keys are Kubo's own, as in
// its docs/config.md; a dot parts levels.
type rule struct {
	key string
	to  func(was any) any
}

// rules turn off whatever would speak to somebody outside. A swarm.key alone
// does not: Kubo goes on asking HTTP services and dials what it has heard of.
var rules = []rule{
	{"AutoConf.Enabled", is(false)}, // fetches a configuration from conf.ipfs-mainnet.org
	{"AutoTLS.Enabled", is(false)},  // registers a name and asks for a certificate
	{"Bootstrap", none},
	{"Routing.Type", is("none")},
	{"Routing.DelegatedRouters", none},
	{"Ipns.DelegatedPublishers", none},
	{"DNS.Resolvers", withoutAuto}, // "auto" is refused without AutoConf
	{"Provide.Enabled", is(false)},
	{"HTTPRetrieval.Enabled", is(false)},
	{"Discovery.MDNS.Enabled", is(false)},
	{"Addresses.Swarm", onlyTCP}, // no other transport has pre-shared keys
	{"Swarm.Transports.Network.QUIC", is(false)},
	{"Swarm.Transports.Network.WebRTCDirect", is(false)},
	{"Swarm.Transports.Network.WebTransport", is(false)},
	{"Swarm.Transports.Network.Websocket", is(false)},
	{"Swarm.RelayClient.Enabled", is(false)}, // looks for public relays
	{"Swarm.RelayService.Enabled", is(false)},
	{"Swarm.EnableHolePunching", is(false)}, // refused without RelayClient
	{"Swarm.DisableNatPortMap", is(true)},   // asks the router to open a port
	{"AutoNAT.ServiceMode", is("disabled")},
	{"Plugins.Plugins.telemetry.Disabled", is(true)},
}

func is(v any) func(any) any { return func(any) any { return v } }

func none(any) any { return []any{} }

func withoutAuto(was any) any {
	out := map[string]any{}
	old, _ := was.(map[string]any)
	for name, url := range old {
		if url != "auto" {
			out[name] = url
		}
	}
	return out
}

func onlyTCP(was any) any {
	out := []any{}
	old, _ := was.([]any)
	for _, a := range old {
		text, _ := a.(string)
		if p := strings.Split(text, "/"); len(p) == 5 && p[3] == "tcp" { // /ip4/HOST/tcp/PORT
			out = append(out, a)
		}
	}
	return out
}

// private applies the rules and returns what they have changed.
func (c configuration) private() (changes []Change) {
	for _, r := range rules {
		was, _ := c.get(r.path())
		c.put(r.path(), r.to(was))
		now, _ := c.get(r.path())
		changes = diff(changes, r.key, was, now)
	}
	return changes
}

// restore sets what the rules have changed to what it was.
func (c configuration) restore(old configuration) (changes []Change) {
	for _, r := range rules {
		was, _ := c.get(r.path())
		if before, ok := old.get(r.path()); ok {
			c.put(r.path(), before)
		} else {
			c.drop(r.path(), old)
		}
		now, _ := c.get(r.path())
		changes = diff(changes, r.key, was, now)
	}
	return changes
}

func diff(changes []Change, key string, was, now any) []Change {
	if text(was) == text(now) {
		return changes
	}
	return append(changes, Change{key, text(was), text(now)})
}

// text is a value as JSON, "" for none.
func text(v any) string {
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was JSON, or is a constant
	}
	return string(b)
}

func (r rule) path() []string { return strings.Split(r.key, ".") }

func (c configuration) get(path []string) (v any, ok bool) {
	at := c.root
	for i, name := range path {
		if v, ok = at[name]; !ok || i == len(path)-1 {
			return v, ok
		}
		if at, ok = v.(map[string]any); !ok {
			return nil, false
		}
	}
	return v, ok
}

// put sets a value and makes the levels above it.
func (c configuration) put(path []string, v any) {
	at := c.root
	for _, name := range path[:len(path)-1] {
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	at[path[len(path)-1]] = v
}

// drop removes a value, and the levels above it that put has made and that
// hold nothing now.
func (c configuration) drop(path []string, old configuration) {
	for n := len(path); n > 0; n-- {
		above := c.root
		if n > 1 {
			v, _ := c.get(path[:n-1])
			var ok bool
			if above, ok = v.(map[string]any); !ok {
				return
			}
		}
		before, was := old.get(path[:n])
		if n < len(path) {
			level, _ := above[path[n-1]].(map[string]any)
			if _, levelWas := before.(map[string]any); levelWas || len(level) > 0 {
				return
			}
		}
		delete(above, path[n-1])
		if was {
			above[path[n-1]] = before
			return
		}
	}
}
