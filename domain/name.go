package domain

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// Name is a domain's name in its one canonical form: labels of a-z, 0-9 and
// '-', joined by dots, at most 253 bytes, as host names are. Other scripts
// stand as A-labels ("xn--..."), which is also how they are shown, so that two
// names that look alike never are. Source: RFC 5890, RFC 1123.
type Name string

// The longest name and label, in bytes. Source: RFC 1035, section 2.3.4.
const (
	MaxName  = 253
	maxLabel = 63
)

// ParseName reads a name that is canonical already. The error says how a name
// that is not would be written.
func ParseName(s string) (Name, error) {
	if len(s) > MaxName {
		return "", fmt.Errorf("a domain's name has at most %d bytes, this one has %d", MaxName, len(s))
	}
	for label := range strings.SplitSeq(s, ".") {
		if why := badLabel(label); why != "" {
			return "", fmt.Errorf("%q is no domain name: %s%s", s, why, suggestion(s))
		}
	}
	return Name(s), nil
}

// String returns the name.
func (n Name) String() string { return string(n) }

func badLabel(l string) string {
	switch {
	case strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return "only a-z, 0-9, '-' and dots may stand in it"
	case l == "":
		return "it is empty, or a part between dots is"
	case len(l) > maxLabel:
		return fmt.Sprintf("a part between dots has %d bytes, at most %d are possible", len(l), maxLabel)
	case l[0] == '-' || l[len(l)-1] == '-':
		return "a part begins or ends with '-'"
	case len(l) >= 4 && l[2:4] == "--" && !isALabel(l):
		return "'--' in third place is kept for names of other scripts, and this is none"
	}
	return ""
}

// isALabel reports whether l is what some name of another script is written as.
func isALabel(l string) bool {
	u, err := idna.Registration.ToUnicode(l)
	if err != nil || u == l {
		return false
	}
	a, err := idna.Registration.ToASCII(u)
	return err == nil && a == l
}

// suggestion is the canonical form of s where it has one.
func suggestion(s string) string {
	a, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
	if err != nil || a == s {
		return ""
	}
	if n, err := ParseName(a); err == nil {
		return fmt.Sprintf("; write it as %q", n)
	}
	return ""
}

// fallback is the name of a node's own domain when its host has none that can
// be used.
const fallback Name = "home"

// HomeName makes a name from a host's, which may be anything.
func HomeName(host string) Name {
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	label := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, host)
	label = strings.Trim(label[:min(len(label), maxLabel)], "-")
	if n, err := ParseName(label); err == nil {
		return n
	}
	return fallback
}
