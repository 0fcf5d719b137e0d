package domain

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxLegacy is the size of the largest ipdc.conf that is read, in bytes.
const maxLegacy = 64 << 10

// Legacy is an ipdc.conf of 2018: shell-like NAME=VALUE lines. It is read as
// text and never given to a shell.
type Legacy struct {
	Domain     Name           `json:"domain"`
	Management netip.Addr     `json:"management_ip"` // zero: none
	Project    string         `json:"project,omitempty"`
	Ports      map[string]int `json:"ports,omitempty"` // by their names in the file: API_PORT
	Written    string         `json:"written"`         // the domain as the file has it
}

// ParseLegacy reads an ipdc.conf. All problems are reported at once, with their
// lines. Unknown names, names that stand twice, and values with anything that a
// shell would act on are problems.
func ParseLegacy(b []byte) (Legacy, error) {
	l := Legacy{Ports: map[string]int{}}
	if len(b) > maxLegacy {
		return l, fmt.Errorf("ipdc.conf has %d bytes, at most %d are read", len(b), maxLegacy)
	}
	var problems []string
	seen := map[string]bool{}
	for i, line := range strings.Split(string(b), "\n") {
		key, value, err := legacyLine(line)
		switch {
		case err == nil && key == "":
			continue
		case err == nil && seen[key]:
			err = fmt.Errorf("%s stands there twice", key)
		case err == nil:
			err = l.set(key, value)
		}
		seen[key] = true
		if err != nil {
			problems = append(problems, fmt.Sprintf("line %d: %v", i+1, err))
		}
	}
	if l.Written == "" {
		problems = append(problems, "there is no DOMAIN_NAME")
	}
	if len(problems) > 0 {
		return l, fmt.Errorf("ipdc.conf: %s", strings.Join(problems, "; "))
	}
	return l, nil
}

// legacyLine splits one line; key is "" for an empty one and a comment.
func legacyLine(line string) (key, value string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	key, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
	if !ok || key == "" || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return "", "", fmt.Errorf("%.40q is not NAME=VALUE", line)
	}
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	for _, r := range value {
		if r < ' ' || r > '~' || strings.ContainsRune("$`\\\"';&|<>(){}*?!#", r) {
			return "", "", fmt.Errorf("%s has %q in its value, and nothing is evaluated here", key, r)
		}
	}
	return key, value, nil
}

func (l *Legacy) set(key, value string) (err error) {
	switch {
	case key == "DOMAIN_NAME":
		if l.Written = value; value == "" {
			return fmt.Errorf("DOMAIN_NAME is empty")
		}
		// Upper case and a last dot made no difference in 2018, as in DNS.
		l.Domain, err = ParseName(strings.TrimSuffix(strings.ToLower(value), "."))
	case key == "MANAGEMENT_IP":
		if l.Management, err = netip.ParseAddr(value); err != nil {
			return fmt.Errorf("MANAGEMENT_IP %.60q is no IP address", value)
		}
	case key == "PROJECT":
		if l.Project = value; len(value) > MaxName {
			return fmt.Errorf("PROJECT has %d bytes, at most %d are read", len(value), MaxName)
		}
	case strings.HasSuffix(key, "_PORT") || key == "PORT":
		port, err := strconv.ParseUint(value, 10, 16)
		if err != nil || port == 0 {
			return fmt.Errorf("%s %.20q is no port", key, value)
		}
		l.Ports[key] = int(port)
	default:
		return fmt.Errorf("%s is unknown; known are DOMAIN_NAME, MANAGEMENT_IP, PROJECT, and names that end in PORT", key)
	}
	return err
}

// Note says what the file lacked, and what to do instead of copying it.
func (l Legacy) Note() string {
	var b strings.Builder
	if string(l.Domain) != l.Written {
		fmt.Fprintf(&b, "The domain is now written %s.\n", l.Domain)
	}
	fmt.Fprintf(&b, "In 2018 whoever knew the name %s was in. Now a domain has a secret and a list of members, and its name admits nobody.\n", l.Domain)
	if l.Management.IsValid() {
		fmt.Fprintf(&b, "There is no management node any more: %s becomes a member as any other, and any member takes jobs.\n", l.Management)
	}
	if l.Project != "" {
		fmt.Fprintf(&b, "The project %q becomes a tenant or a label: ipdc token create, ipdc job submit --label project=%s.\n", l.Project, l.Project)
	}
	if len(l.Ports) > 0 {
		fmt.Fprintf(&b, "Its %d ports are not used: they are chosen at the first start and kept (ipdc config show).\n", len(l.Ports))
	}
	return b.String()
}
