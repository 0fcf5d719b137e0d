package sidecar

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// CheckUIDs refuses a machine on which a user of passwd, or a range of subuid,
// has UIDs that this node gives to containers: a program would be that user to
// the kernel. The files are as /etc/passwd and /etc/subuid are; one that is
// missing names nobody.
func CheckUIDs(passwd, subuid string) error {
	return errors.Join(
		eachLine(passwd, func(f []string) (first, count int64, ok bool) {
			if len(f) < 3 {
				return 0, 0, false
			}
			first, err := strconv.ParseInt(f[2], 10, 64)
			return first, 1, err == nil
		}),
		eachLine(subuid, func(f []string) (first, count int64, ok bool) {
			if len(f) < 3 {
				return 0, 0, false
			}
			first, err := strconv.ParseInt(f[1], 10, 64)
			count, err2 := strconv.ParseInt(f[2], 10, 64)
			return first, count, err == nil && err2 == nil
		}))
}

// eachLine reads UIDs from each line of a file by its fields between colons, and
// fails at the first line that has some of containers'.
func eachLine(file string, uids func(fields []string) (first, count int64, ok bool)) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for users of containers' UIDs: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		first, count, ok := uids(fields)
		if ok && first <= uidBase+uidMask && count > uidBase-first {
			return jobspec.Failure{
				Kind:   jobspec.KindPolicy,
				Detail: fmt.Sprintf("%s gives %s UIDs from %d on, and containers have those from %d to %d", file, fields[0], first, uidBase, uidBase+uidMask),
				Hint:   "give that user others in " + file,
			}.Error()
		}
	}
	return lines.Err()
}
