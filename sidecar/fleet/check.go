package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/wire"
)

// Bounds of one advert, which stays in memory while its member lives.
const (
	maxWord   = 64 // bytes of version, arch, and of a label's name and value
	maxLabels = 32
	maxAddrs  = 16
	maxAddr   = 512 // bytes: two addresses, two peer ids
)

// check refuses what no node says.
func check(l bus.Letter, a wire.Advert) error {
	switch {
	case l.Topic != bus.TopicNodes:
		return fmt.Errorf("an advert is announced on %s, this one came on %q", bus.TopicNodes, l.Topic)
	case len(a.Version) > maxWord || len(a.Arch) > maxWord:
		return fmt.Errorf("version or architecture of over %d bytes", maxWord)
	case len(a.Labels) > maxLabels || len(a.Addrs) > maxAddrs:
		return fmt.Errorf("%d labels and %d addresses, at most %d and %d are taken", len(a.Labels), len(a.Addrs), maxLabels, maxAddrs)
	case slices.ContainsFunc(a.Addrs, func(s string) bool { return len(s) > maxAddr }):
		return fmt.Errorf("an address of over %d bytes", maxAddr)
	case len(a.Strict) > maxWord || strings.ContainsFunc(a.Strict, func(r rune) bool { return r < '!' || r > '~' }):
		return fmt.Errorf("strict: %.80q is no runtime's name", a.Strict)
	case a.Held < 0 || negative(a.Capacity) || negative(a.Free):
		return fmt.Errorf("less than nothing: held %d, capacity %+v, free %+v", a.Held, a.Capacity, a.Free)
	case a.Started < 0 || a.Started > maxTime:
		return fmt.Errorf("started at %d s", a.Started)
	}
	for key, value := range a.Labels {
		if err := CheckLabel(key, value); err != nil {
			return err
		}
	}
	return nil
}

const maxTime = 253402300799 // the last second of the year 9999, the last one in JSON

func negative(c wire.Capacity) bool { return c.CPU < 0 || c.Memory < 0 || c.Disk < 0 }

// CheckLabel says what is wrong with a label of a node: its name has 1 to 64
// characters a-z, 0-9, '.', '/', '_' and '-', its value up to 64 printable ones of
// ASCII without ',' and '='.
func CheckLabel(key, value string) error {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789./_-"
	if key == "" || len(key) > maxWord || strings.Trim(key, alphabet) != "" {
		return fmt.Errorf("label %.80q: a name has 1 to %d characters a-z, 0-9, '.', '/', '_' and '-'", key, maxWord)
	}
	if len(value) > maxWord || strings.ContainsFunc(value, func(r rune) bool { return r < '!' || r > '~' || r == ',' || r == '=' }) {
		return fmt.Errorf("label %s=%.80q: a value has up to %d printable characters without ',' and '='", key, value, maxWord)
	}
	return nil
}

// ParseLabels reads labels from KEY=VALUE texts; without a value, KEY is enough.
func ParseLabels(list []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range list {
		key, value, _ := strings.Cut(strings.TrimSpace(text), "=")
		if err := CheckLabel(key, value); err != nil {
			return nil, err
		}
		if _, twice := labels[key]; twice {
			return nil, fmt.Errorf("label %s stands twice", key)
		}
		labels[key] = value
	}
	if len(labels) > maxLabels {
		return nil, fmt.Errorf("%d labels, at most %d are possible: %v", len(labels), maxLabels, slices.Sorted(maps.Keys(labels)))
	}
	return labels, nil
}
