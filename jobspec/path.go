package jobspec

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Path names a file or directory below a CID. Its text is the same however it
// was written, so that one thing has one name.
type Path struct {
	Root     CID
	Segments []string // names of directory entries, outermost first
}

// What a path may hold at most.
const (
	maxPathLevels = 64  // as directories of an input
	maxPathName   = 255 // bytes of one segment
)

var percentCode = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// ParsePath reads CID, CID/path, /ipfs/CID/path or ipfs://CID/path, with the
// CID in any version and base. Refused are names that may point elsewhere
// tomorrow (/ipns/..., DNSLink), ".", ".." and empty segments, %-encoding,
// queries and control characters. The error is of kind E_SPEC.
func ParsePath(s string) (Path, error) {
	rest, err := trimScheme(s)
	if err != nil {
		return Path{}, err
	}
	first, tail, below := strings.Cut(rest, "/")
	root, err := ParseCID(first)
	if err != nil {
		return Path{}, notCID(s, first)
	}
	p := Path{Root: root}
	if tail = strings.TrimSuffix(tail, "/"); !below || tail == "" {
		return p, nil
	}
	p.Segments = strings.Split(tail, "/")
	if len(p.Segments) > maxPathLevels {
		return Path{}, KindSpec.Errorf("%q has %d levels, at most %d are read", clip(s), len(p.Segments), maxPathLevels)
	}
	for _, name := range p.Segments {
		if why := badSegment(name); why != "" {
			return Path{}, KindSpec.Errorf("%q is not a path below a CID: %s", clip(s), why)
		}
	}
	return p, nil
}

// trimScheme returns what follows /ipfs/ or ipfs://, and refuses the
// namespaces whose names are not fixed.
func trimScheme(s string) (string, error) {
	if rest, ok := strings.CutPrefix(s, "/ipfs/"); ok {
		return rest, nil
	}
	if rest, ok := strings.CutPrefix(s, "ipfs://"); ok {
		if strings.ContainsAny(rest, "?#") {
			return "", KindSpec.Errorf("%q is not a path below a CID: it has a query or a fragment", clip(s))
		}
		return rest, nil
	}
	if strings.HasPrefix(s, "/ipns/") || strings.HasPrefix(s, "ipns://") {
		return "", Failure{
			Kind: KindSpec, Detail: "\"" + clip(s) + "\" is a name that can change",
			Hint: "resolve it first and give the CID: ipfs name resolve, or ipfs resolve -r",
		}.Error()
	}
	return s, nil
}

func notCID(s, first string) error {
	if strings.Contains(first, ".") {
		return Failure{
			Kind: KindSpec, Detail: "\"" + clip(s) + "\" begins with a name that can change, not with a CID",
			Hint: "resolve it first and give the CID",
		}.Error()
	}
	return KindSpec.Errorf("%q does not begin with a CID", clip(s))
}

// badSegment says why name cannot be followed, or "".
func badSegment(name string) string {
	switch {
	case name == "":
		return "a name in it is empty"
	case name == "." || name == "..":
		return "it leaves its directory with " + name
	case len(name) > maxPathName:
		return "a name in it is longer than 255 bytes"
	case percentCode.MatchString(name):
		return "write names as they are, without %-encoding"
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "a name in it has a control character"
	}
	return ""
}

// String returns "<base32 CIDv1>" or "<base32 CIDv1>/<path>".
func (p Path) String() string {
	return strings.Join(append([]string{p.Root.String()}, p.Segments...), "/")
}
