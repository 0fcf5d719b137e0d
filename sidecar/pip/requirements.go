package pip

import (
	"bufio"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// MaxRequirements is the size of the largest requirements file in bytes.
const MaxRequirements = 256 << 10

// Options of a requirements file that change nothing about where packages
// come from. Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/
var harmless = []string{"--pre", "--prefer-binary", "--require-hashes", "--only-binary"}

var (
	comment = regexp.MustCompile(`(^|\s)#.*$`)
	direct  = regexp.MustCompile(`^[A-Za-z0-9._\[\], -]*@|://|\.(whl|zip|tar\.gz|tgz|tar\.bz2)(\s|;|$)`)
	word    = regexp.MustCompile(`^[A-Za-z0-9]`)
)

// Check refuses what would fetch packages from anywhere but the index: URLs,
// paths, editable installs, other indexes and nested files. name is that of
// the file, for messages. The error is of kind E_SPEC and lists every such line.
func Check(name, text string) error {
	var bad []string
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, MaxRequirements)
	for number, from, line := 0, 0, ""; sc.Scan(); {
		number++
		if line == "" {
			from = number
		}
		part := sc.Text()
		if rest, ok := strings.CutSuffix(part, `\`); ok {
			line += rest
			continue
		}
		line = strings.TrimSpace(comment.ReplaceAllString(line+part, ""))
		if why := refused(line); why != "" {
			bad = append(bad, fmt.Sprintf("line %d: %s", from, why))
		}
		line = ""
	}
	if err := sc.Err(); err != nil {
		return jobspec.KindSpec.Errorf("%s: %v", name, err)
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

// refused says why a line is not taken, or "".
func refused(line string) string {
	if line == "" {
		return ""
	}
	first, _, _ := strings.Cut(strings.Fields(line)[0], "=")
	switch {
	case slices.Contains(harmless, first):
		return ""
	case first == "-r" || first == "-c" || first == "--requirement" || first == "--constraint":
		return fmt.Sprintf("%s names another file; put all into one", first)
	case first == "-e" || first == "--editable":
		return "editable installs are refused"
	case strings.HasPrefix(first, "-"):
		return fmt.Sprintf("the option %s is refused", clip(first))
	case !word.MatchString(line) || strings.ContainsAny(first, "/\\") || direct.MatchString(line):
		return fmt.Sprintf("%q is a URL or a path", clip(line))
	}
	return ""
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
