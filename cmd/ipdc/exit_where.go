package main

import "strings"

// flagOf names the flags behind what refusals speak of: fields of a spec, and
// parameters of the API.
var flagOf = map[string]string{
	"cache":             "cache",
	"expose":            "expose",
	"inputs[0].as":      "as",
	"inputs[0].cid":     "cid",
	"keep":              "keep",
	"labels":            "label",
	"merge":             "merge",
	"name":              "name",
	"network":           "network",
	"place.min_workers": "min-workers",
	"place.prefer":      "place",
	"place.require":     "require",
	"resources.cpu":     "cpu",
	"resources.disk":    "disk",
	"resources.gpu":     "gpu",
	"resources.memory":  "memory",
	"retry.attempts":    "attempts",
	"replicate":         "replicate",
	"run.env":           "env",
	"run.image":         "image",
	"run.requirements":  "requirements",
	"states":            "state",
	"timeouts.run":      "timeout",
	"timeouts.total":    "total-timeout",
	"to":                "to",

	"place.overflow.after": "overflow-after",
	"place.overflow.to":    "overflow",
	"place.require.data":   "place",

	"header.Idempotency-Key": "idempotency-key",
	"query.after":            "since",
	"query.label":            "label",
	"query.limit":            "limit",
	"query.state":            "state",
	"query.tenant":           "tenant",
}

// where is a place that a refusal names in the words of this command line: the
// flag, if that was given, else the place, which is then one of a spec's file.
func (a *app) where(place string) string {
	name, ok := flagOf[place]
	key := ""
	if i := strings.IndexByte(place, '['); !ok && i >= 0 {
		name, ok = flagOf[place[:i]]
		key = " " + strings.Trim(place[i:], "[]") // labels["X"]
	}
	if !ok || a.cmd == nil {
		return place
	}
	if f := a.cmd.Flags().Lookup(name); f == nil || !f.Changed {
		return place
	}
	return "--" + name + key
}
