package jobspec

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/distribution/reference"
)

func (r Run) validate(l *problemList) {
	l.check("run.image", CheckImage(r.Image))
	validateCommand(l, r.Command)
	validateEnv(l, r.Env)
	oneOf(l, "run.per", r.Per, PerTask, PerItem)
	switch {
	case r.Per == PerItem:
		oneOf(l, "run.feed", r.Feed, FeedStdin, FeedList)
	case r.Feed != "":
		l.add("run.feed", "is for per: item only")
	}
	if r.AllowBuild && !r.Requirements.Defined() {
		l.add("run.allow_build", "is for run.requirements only")
	}
	if r.KeepGoing && r.Per != PerItem {
		l.add("run.keep_going", "is for per: item only")
	}
}

var imageID = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// CheckImage reports whether ref is written as a stock name, as a reference in
// the words of container registries, as an image id, or as the CID of an image
// archive. It does not look for
// the image. The error is of kind E_IMAGE_REF.
// Source: https://pkg.go.dev/github.com/distribution/reference
func CheckImage(ref string) error {
	if ref == "" {
		return KindImageRef.Errorf("is missing: name an image, such as python")
	}
	if imageID.MatchString(ref) {
		return nil
	}
	if strings.HasPrefix(ref, "sha256:") {
		return KindImageRef.Errorf("%q is not an image id: write sha256: and all 64 hex digits", clip(ref))
	}
	if _, err := ParseCID(ref); err == nil {
		return nil
	}
	if _, err := reference.ParseNormalizedNamed(ref); err != nil {
		return KindImageRef.Errorf("%q is not an image reference: %v", clip(ref), err)
	}
	return nil
}

func validateCommand(l *problemList, command []string) {
	if len(command) == 0 || command[0] == "" {
		l.add("run.command", "is empty: give the program and its arguments as a list")
	}
	size := 0
	for i, arg := range command {
		size += len(arg) + 1
		if strings.ContainsRune(arg, 0) || !utf8.ValidString(arg) {
			l.add(joinIndex("run.command", i), "has a NUL byte or is not UTF-8")
		}
	}
	tooLong(l, "run.command", size)
}

func tooLong(l *problemList, path string, size int) {
	if size > MaxArguments {
		l.push(Problem{
			Path: path, Kind: KindLimit, Detail: "is too long for a process",
			Hint: "at most 128KiB in all; put the rest into a file of code or inputs",
		})
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)

func validateEnv(l *problemList, env map[string]string) {
	size := 0
	for _, key := range sortedKeys(env) {
		path, value := joinKey("run.env", key), env[key]
		size += len(key) + len(value) + 2
		if !envName.MatchString(key) {
			l.add(path, "a variable's name is letters, digits and '_', and begins with no digit")
		} else if reservedEnv(key) {
			l.push(Problem{
				Path: path, Detail: "the name is reserved: it is set by the node or changes how programs are loaded",
				Hint: "set it inside the program, or choose another name",
			})
		}
		if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
			l.add(path, "the value has a NUL byte or is not UTF-8")
		}
	}
	tooLong(l, "run.env", size)
}

// reservedEnv reports names that are the node's own or that would turn a
// program's loader, network or engine client against the sandbox.
func reservedEnv(key string) bool {
	upper := strings.ToUpper(key)
	return upper == "PATH" || upper == "IPFS_PATH" || upper == "DOCKER_HOST" ||
		strings.HasPrefix(upper, "LD_") || strings.HasPrefix(upper, "IPDC_") ||
		strings.HasSuffix(upper, "_PROXY")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
