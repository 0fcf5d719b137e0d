package tree

import (
	"unicode"
	"unicode/utf8"

	"github.com/ipdc/ipdc/jobspec"
)

// maxName is the longest name in bytes, as on ext4 and XFS.
const maxName = 255

// CheckName returns an error of kind E_NAME unless name may stand in a
// directory: valid UTF-8 of 1 to 255 bytes, not "." or "..", without slash,
// NUL, control characters, line separators or characters that change the
// direction of text (they make one name look like another).
func CheckName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return jobspec.KindName.Errorf("the name %q is not allowed", name)
	case len(name) > maxName:
		return jobspec.KindName.Errorf("the name %q... has %d bytes, at most %d are allowed", name[:32], len(name), maxName)
	case !utf8.ValidString(name):
		return jobspec.KindName.Errorf("the name %q is not valid UTF-8", name)
	}
	for _, r := range name {
		if forbidden(r) {
			return jobspec.KindName.Errorf("the name %q holds the character %U, which is not allowed", name, r)
		}
	}
	return nil
}

func forbidden(r rune) bool {
	return r == '/' || unicode.IsControl(r) || // C0 with NUL, DEL, C1
		r == '\u2028' || r == '\u2029' ||
		r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}
