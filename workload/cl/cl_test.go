package cl_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
	"github.com/ipdc/ipdc/workload/cl"
)

func read(t *testing.T, list string) []cl.Line {
	t.Helper()
	lines, err := cl.Read(strings.NewReader(list))
	if err != nil {
		t.Fatalf("Read(%.40q) = %v", list, err)
	}
	return lines
}

func TestLines(t *testing.T) {
	for list, want := range map[string][]string{
		"a\nb\n":                {"a", "b"},
		"a\nb":                  {"a", "b"},
		"\n\na\n\r\n\nb\r\n":    {"a", "b"},
		"a\rb\nc\r":             {"a\rb", "c"},
		" a \n":                 {" a "},
		"\x00\n\xff\xfe\n":      {"\x00", "\xff\xfe"},
		"../../x\n$(id)\n'; \"": {"../../x", "$(id)", "'; \""},
	} {
		var got []string
		for _, l := range read(t, list) {
			got = append(got, string(l.Text))
			if string(l.Content()) != string(l.Text)+"\n" {
				t.Errorf("content of %q = %q", l.Text, l.Content())
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Read(%q) (-want +got):\n%s", list, d)
		}
	}
}

var plain = regexp.MustCompile(`^[A-Za-z0-9._][A-Za-z0-9._-]*$`)

func TestNames(t *testing.T) {
	long := strings.Repeat("é", 500)
	lines := read(t, strings.Join([]string{
		"https://example.org/a/b.html?c=1", "http://example.org/a/b.html?c=1", "same", "same", "same", "..", "../../etc/passwd", ".hidden",
		"\x00", "\x00\x00", long, "-rf", "a b", "a  b", "A B", "con", "\u202eevil", "ipdc-part", strings.Repeat("x", cl.MaxLine),
	}, "\n"))
	seen := map[string]bool{}
	for _, l := range lines {
		if seen[l.Name] {
			t.Errorf("name %q comes twice", l.Name)
		}
		seen[l.Name] = true
		if !plain.MatchString(l.Name) || len(l.Name) > 100 || strings.HasPrefix(l.Name, ".") || !guest.ValidPath(l.Name) {
			t.Errorf("name of %.40q is %q", l.Text, l.Name)
		}
	}
	if got := lines[0].Name; !strings.HasPrefix(got, "example.org-a-b.html-c-1-") {
		t.Errorf("name of a URL = %q", got)
	}
	if lines[3].Name != lines[2].Name+"-2" || lines[4].Name != lines[2].Name+"-3" {
		t.Errorf("names of equal lines = %q, %q, %q", lines[2].Name, lines[3].Name, lines[4].Name)
	}
	if again := read(t, "other\nsame\n"); again[1].Name != lines[2].Name {
		t.Errorf("a line is named %q and %q", again[1].Name, lines[2].Name)
	}
}

func TestTooMuch(t *testing.T) {
	for _, tc := range []struct {
		name, list string
		kind       jobspec.Kind
		want       string
	}{
		{"nothing", "\n\n", jobspec.KindSpec, "no line"},
		{"a line of 1 MiB", "ok\n" + strings.Repeat("x", 1<<20) + "\n", jobspec.KindLimit, "line 2 has over 65536 bytes"},
		{"a line one too long", strings.Repeat("x", cl.MaxLine+1), jobspec.KindLimit, "line 1 has over 65536 bytes"},
		{"many lines", strings.Repeat("x\n", cl.MaxLines+1), jobspec.KindLimit, "over 1000000 lines"},
	} {
		_, err := cl.Read(strings.NewReader(tc.list))
		if !errors.Is(err, tc.kind.Error()) || !strings.Contains(err.Error(), tc.want) || jobspec.AsFailure(err).Hint == "" {
			t.Errorf("%s: Read = %v, want %s, %q and a hint", tc.name, err, tc.kind, tc.want)
		}
	}
	if err := cl.CheckSlices(100_000, 4); err == nil || !strings.Contains(fmt.Sprint(jobspec.AsFailure(err)), "-k 12") {
		t.Errorf("CheckSlices(100000, 4) = %v, want a refusal with -k 12", err)
	}
	for _, k := range []int{0, 12, 200_000} {
		if err := cl.CheckSlices(100_000, k); err != nil {
			t.Errorf("CheckSlices(100000, %d) = %v", k, err)
		}
	}
}

// A line reaches the command as data, whatever is in it.
func TestEach(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                          "plain",
		`$(touch pwned) ; touch pwned #`: `$(touch pwned) ; touch pwned #`,
		"`touch pwned`":                  "`touch pwned`",
		`a"; touch pwned; "`:             `a"; touch pwned; "`,
		`\n \\ %s -n`:                    `\n \\ %s -n`,
		"  spaces\tand tabs  ":           "  spaces\tand tabs  ",
		"\xff\xfe":                       "\xff\xfe",
		"-e":                             "-e",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "item"), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := cl.Each(`printf '%s|' "$IPDC_LINE"; cat`)
		cmd := exec.Command(p.Run.Command[0], p.Run.Command[1:]...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "IPDC_INPUTS=" + dir, "IPDC_ITEM=item"}
		cmd.Stdin = strings.NewReader(text + "\n")
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want+"|"+text+"\n" {
			t.Errorf("line %q: output %q, %v; want it twice", text, out, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
			t.Errorf("line %q was run as a command", text)
		}
	}
}

func TestSpec(t *testing.T) {
	s := cl.Spec(cl.Each("true"), cl.Job{Slices: 7, Retries: 2})
	s.Inputs = []jobspec.Input{{CID: "bafkqaaa"}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if !s.Run.KeepGoing || s.Split.Into != 7 || s.Retry.Items != 2 || s.Labels[cl.Label] != cl.LabelValue || cl.Cache(s) != jobspec.CacheUse {
		t.Errorf("spec = %+v", s)
	}
	s.Network = []string{"example.org:443"}
	s.Cache = cl.Cache(s)
	again, err := cl.Again(s)
	if s.Cache != jobspec.CacheRefresh || err != nil || again.Cache != jobspec.CacheUse {
		t.Errorf("with a network: cache %s, again %s, %v", s.Cache, again.Cache, err)
	}
	s.Cache = jobspec.CacheOff
	if _, err := cl.Again(s); err == nil {
		t.Error("a job that remembers nothing can be done again in part")
	}
}
