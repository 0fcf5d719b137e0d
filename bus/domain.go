package bus

import (
	"fmt"
	"strings"
)

// DomainID names a domain: 26 characters of base32 in lower case, the first 16
// bytes of a hash over the domain's name and admin key. Package domain makes
// it; here it only tells domains apart.
type DomainID string

// domainIDLen is the length of 16 bytes in base32 without padding.
const domainIDLen = 26

// ParseDomainID checks that s has the form of a domain's id, which makes it fit
// for the names of topics and protocols.
func ParseDomainID(s string) (DomainID, error) {
	if len(s) != domainIDLen || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", fmt.Errorf("%.40q is not a domain's id: %d characters a-z and 2-7", s, domainIDLen)
	}
	return DomainID(s), nil
}

// String returns the id.
func (d DomainID) String() string { return string(d) }
