package tree_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

func TestCheckName(t *testing.T) {
	for _, c := range []struct {
		what string
		name string
		ok   bool
	}{
		{"plain", "a.txt", true},
		{"dots", "...", true},
		{"space", " a b ", true},
		{"C49 Docker bind characters", "a:b,c", true},
		{"C06 255 bytes", strings.Repeat("a", 255), true},
		{"C06 252 bytes of 4-byte runes", strings.Repeat("😀", 63), true},
		{"C06 256 bytes", strings.Repeat("a", 256), false},
		{"C06 255 runes of 4 bytes", strings.Repeat("😀", 255), false},
		{"C02 empty", "", false},
		{"C02 dot", ".", false},
		{"C02 dot dot", "..", false},
		{"C01 traversal", "../../etc/cron.d/x", false},
		{"C03 slash", "a/b", false},
		{"C03 absolute", "/etc/passwd", false},
		{"C04 NUL", "a\x00b", false},
		{"C05 newline", "a\nb", false},
		{"C05 carriage return", "a\r", false},
		{"C05 tab", "a\tb", false},
		{"C05 escape", "\x1b[31m", false},
		{"C05 DEL", "a\x7f", false},
		{"C05 C1", "a\u0085", false},
		{"C05 right-to-left override", "a\u202etxt.exe", false},
		{"C05 isolate", "a\u2066b", false},
		{"C05 line separator", "a\u2028b", false},
		{"C05 paragraph separator", "a\u2029b", false},
		{"C07 invalid UTF-8", "a\xff", false},
		{"C07 surrogate", "\xed\xa0\x80", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			err := tree.CheckName(c.name)
			if c.ok && err != nil || !c.ok && !errors.Is(err, jobspec.KindName.Error()) {
				t.Errorf("CheckName(%.20q) = %v, want ok %v", c.name, err, c.ok)
			}
		})
	}
}
