package pip

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ipdc/ipdc/jobspec"
)

// MaxRequirements is the size of the largest requirements file in bytes.
const MaxRequirements = 256 << 10

// Options of a requirements file that change nothing about where packages come
// from; those with a value are taken with these values only.
// Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/
var harmless = map[string]*regexp.Regexp{
	"--pre": nil, "--prefer-binary": nil, "--require-hashes": nil,
	"--only-binary": regexp.MustCompile(`^:all:$`),
	"--hash":        regexp.MustCompile(`^sha(256|384|512):[0-9a-f]+$`),
}

var (
	comment  = regexp.MustCompile(`(^|\s+)#.*$`)
	direct   = regexp.MustCompile(`^[A-Za-z0-9._\[\], -]*@|://|\.(whl|zip|tar\.gz|tgz|tar\.bz2)(\s|;|$)`)
	word     = regexp.MustCompile(`^[A-Za-z0-9]`)
	encoding = regexp.MustCompile(`coding[:=]`) // PEP 263
)

// Check refuses what would fetch packages from anywhere but the index, or
// build them unasked: URLs, paths, editable installs, other indexes, nested
// files, variables. It reads lines as pip does; what pip might split or decode
// in another way is refused. name is that of the file, for messages. The error
// is of kind E_SPEC and lists every such line.
func Check(name, text string) error {
	if why := badText(text); why != "" {
		return jobspec.KindSpec.Errorf("%s: %s", name, why)
	}
	var bad []string
	for _, l := range logical(text) {
		if why := refused(l.text); why != "" {
			bad = append(bad, fmt.Sprintf("line %d: %s", l.number, why))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	const most = 5
	detail := strings.Join(bad[:min(len(bad), most)], "; ")
	if len(bad) > most {
		detail += fmt.Sprintf("; and %d more", len(bad)-most)
	}
	return jobspec.Failure{
		Kind: jobspec.KindSpec, Where: name, Detail: detail,
		Hint: "name packages of the index, as in numpy==2.4.1; give your own as wheels with --wheels DIR",
	}.Error()
}

// badText says why a file cannot be read in one way only, or "".
func badText(text string) string {
	if !utf8.ValidString(text) || strings.HasPrefix(text, "\ufeff") {
		return "it is not UTF-8 without a byte order mark"
	}
	for i, line := range strings.SplitN(text, "\n", 3) {
		if i < 2 && encoding.MatchString(line) {
			return "it names an encoding; leave that out, UTF-8 is read"
		}
	}
	odd := func(r rune) bool { // Python ends lines at some of these
		return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
	}
	if strings.ContainsFunc(strings.ReplaceAll(text, "\r\n", "\n"), func(r rune) bool { return odd(r) || r == '\r' }) {
		return "it has control characters"
	}
	return ""
}

// line is what stands on one or more lines of the file.
type line struct {
	number int
	text   string
}

// logical joins continued lines and leaves comments out, as pip does: a line
// that is a comment is never continued, and what an unfinished line has begun
// counts at the end of the file.
func logical(text string) (list []line) {
	var open *line
	for i, part := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		remark := strings.HasPrefix(strings.TrimSpace(part), "#")
		if open == nil {
			open = &line{number: i + 1}
		}
		if strings.HasSuffix(part, `\`) && !remark {
			open.text += strings.Trim(part, `\`)
			continue
		}
		if remark {
			part = " " + part
		}
		open.text += part
		list, open = append(list, *open), nil
	}
	if open != nil {
		list = append(list, *open)
	}
	for i := range list {
		list[i].text = strings.TrimSpace(comment.ReplaceAllString(list[i].text, ""))
	}
	return list
}

// refused says why a line is not taken, or "".
func refused(text string) string {
	if text == "" {
		return ""
	}
	if strings.Contains(text, "${") {
		return "variables are refused"
	}
	words := strings.Fields(text)
	lone := strings.HasPrefix(words[0], "-") // a line of options only
	if !lone && (!word.MatchString(text) || strings.ContainsAny(words[0], "/\\") || direct.MatchString(text)) {
		return fmt.Sprintf("%q is a URL or a path", clip(text))
	}
	for i := 0; i < len(words); i++ {
		if !strings.HasPrefix(words[i], "-") {
			if lone {
				return fmt.Sprintf("%q does not belong behind an option", clip(words[i]))
			}
			continue
		}
		name, value, joined := strings.Cut(words[i], "=")
		allowed, known := harmless[name]
		switch {
		case !known:
			return refusedOption(name)
		case allowed != nil && !joined && i+1 < len(words):
			i++
			value = words[i]
		}
		if allowed == nil && joined || allowed != nil && !allowed.MatchString(value) {
			return fmt.Sprintf("the option %s is refused with the value %q", name, clip(value))
		}
	}
	return ""
}

func refusedOption(name string) string {
	switch name {
	case "-r", "-c", "--requirement", "--constraint":
		return name + " names another file; put all into one"
	case "-e", "--editable":
		return "editable installs are refused"
	}
	return fmt.Sprintf("the option %s is refused", clip(name))
}

func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "..."
	}
	return s
}

// Packages returns "name==version" for each directory NAME-VERSION.dist-info
// among the entries of an installation, sorted; names are in the normal form
// of PEP 503.
func Packages(entries []string) []string {
	var list []string
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e, ".dist-info")
		if !ok {
			continue
		}
		name, version, ok := strings.Cut(stem, "-")
		if ok {
			list = append(list, normal.ReplaceAllString(strings.ToLower(name), "-")+"=="+version)
		}
	}
	slices.Sort(list)
	return list
}

var normal = regexp.MustCompile(`[-_.]+`)
