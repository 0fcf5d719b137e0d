package sidecar

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// CheckUIDs refuses a machine on which a user, a group or a range in the files
// passwd, group, subuid and subgid of a directory, as /etc is, has UIDs or GIDs
// that this node gives to containers: a program would be that user to the
// kernel. A file that is missing names nobody. Users that the machine learns of
// in another way are asked for by [AskUIDs].
func CheckUIDs(etc string) error {
	var failed error
	for _, name := range []string{"passwd", "group"} {
		failed = errors.Join(failed, eachLine(filepath.Join(etc, name), one))
	}
	for _, name := range []string{"subuid", "subgid"} {
		failed = errors.Join(failed, eachLine(filepath.Join(etc, name), span))
	}
	return failed
}

// someones refuses a machine that gives somebody what containers have.
func someones(by, whom string, first int64, hint string) error {
	return jobspec.Failure{
		Kind:   jobspec.KindPolicy,
		Detail: fmt.Sprintf("%s gives %s UIDs or GIDs from %d on, and containers have those from %d to %d", by, whom, first, uidBase, uidBase+uidMask),
		Hint:   hint,
	}.Error()
}

// one reads the number of a user or a group, which both have in the same place.
func one(f []string) (first, count int64, ok bool) {
	if len(f) < 3 {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(f[2], 10, 64)
	return first, 1, err == nil
}

// span reads a range.
func span(f []string) (first, count int64, ok bool) {
	if len(f) < 3 {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(f[1], 10, 64)
	count, err2 := strconv.ParseInt(f[2], 10, 64)
	return first, count, err == nil && err2 == nil
}

// maxLine bounds a line: a group names all its members in one.
const maxLine = 16 << 20

// eachLine reads numbers from each line of a file by its fields between colons,
// and fails at the first line that has some of containers'.
func eachLine(file string, numbers func(fields []string) (first, count int64, ok bool)) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for users of containers' UIDs: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		first, count, ok := numbers(fields)
		if ok && first <= uidBase+uidMask && count > uidBase-first {
			return someones(file, fields[0], first, "give it others in "+file)
		}
	}
	return lines.Err()
}
