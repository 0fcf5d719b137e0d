package pip_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/pip"
)

func TestCheck(t *testing.T) {
	good := `# packages
numpy
Pillow>=10,<12   # images
requests[security]~=2.31 ; python_version > "3.8"
six==1.16.0 \
    --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254
--pre
--only-binary=:all:
--only-binary :all: --prefer-binary
`
	if err := pip.Check("requirements.txt", good); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
	for _, line := range []string{
		"-e .", "--editable git+https://example.org/x", "https://example.org/x.whl", "x @ https://example.org/x.whl",
		"x @ file:///etc/passwd", "file:///etc/passwd", "./x.whl", "/etc/passwd", "../x", "x.whl", "pkg/x-1.tar.gz", "git+ssh://a@b/c",
		"-i https://example.org/simple", "--index-url=https://example.org", "--extra-index-url https://example.org", "-f /tmp",
		"--find-links /tmp", "--no-index", "--trusted-host x", "-r other.txt", "--requirement other.txt", "-c c.txt", "--no-binary :all:",
		"--pre --index-url https://example.org", "--only-binary=:none:", "numpy --only-binary :none:", "numpy --pre --find-links /tmp",
		"--pre numpy", "foo==${PIP_INDEX_URL}", "numpy --config-settings=a=b", "numpy --hash=md5:00", "--pre=1", "-i", "-rother.txt",
		"--process", "x[a] @ http://example.org", "--ind\\\nex-url https://example.org", "@x",
	} {
		err := pip.Check("requirements.txt", "six\n"+line+"\n")
		if !errors.Is(err, jobspec.KindSpec.Error()) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("Check(%q) = %v, want E_SPEC at line 2", line, err)
		}
	}
}

func TestIndex(t *testing.T) {
	for url, want := range map[string][]string{
		"":                                    {"files.pythonhosted.org:443", "pypi.org:443"},
		"https://u:p@pkgs.example/api/simple": {"pkgs.example:443"},
		"http://pkgs.example:8080/simple/":    {"pkgs.example:8080"},
		"http://[2001:db8::1]/simple":         {"[2001:db8::1]:80"},
	} {
		ix, err := pip.ParseIndex(url)
		if err != nil || !slices.Equal(ix.Grants(), want) {
			t.Errorf("ParseIndex(%q) grants %v, %v, want %v", url, ix.Grants(), err, want)
		}
		if p := ix.Public(); strings.Contains(p, "u:p") {
			t.Errorf("Public() = %s has a password", p)
		}
	}
	for _, url := range []string{"pypi.org", "ftp://pypi.org", "file:///tmp", "https://", "https://a b/"} {
		if _, err := pip.ParseIndex(url); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("ParseIndex(%q) = %v, want E_SPEC", url, err)
		}
	}
}

// What an installation may do is in its spec, and no password is.
func TestJob(t *testing.T) {
	ix, err := pip.ParseIndex("https://user:secret@pkgs.example/simple")
	if err != nil {
		t.Fatal(err)
	}
	limits := jobspec.Resources{CPU: 1000, Memory: jobspec.GiB, Disk: 100 * jobspec.GiB}
	req := pip.Request{Image: "sha256:" + strings.Repeat("0", 64), Index: ix, Limits: limits}
	if req.Requirements, err = jobspec.ParseCID("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"); err != nil {
		t.Fatal(err)
	}
	s := pip.Job(req)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Network, []string{"pkgs.example:443"}) || s.Cache != jobspec.CacheUse || s.Against(jobspec.Offer{Capacity: limits}) != nil {
		t.Errorf("Job = %+v, want the index as its only name, remembered, within the limits", s)
	}
	block, err := jobspec.EncodeCBOR(s)
	if err != nil || strings.Contains(string(block), "secret") {
		t.Errorf("the spec holds the password (%v)", err)
	}
	req.Offline = true
	if s := pip.Job(req); len(s.Network) != 0 {
		t.Errorf("Network of an offline installation = %v, want none", s.Network)
	}
}

func TestPackages(t *testing.T) {
	got := pip.Packages([]string{"numpy", "numpy-2.4.1.dist-info", "bin", "ruamel.yaml.clib-0.2.dist-info", "Zope_Interface-6.dist-info", "odd.dist-info"})
	if want := []string{"numpy==2.4.1", "ruamel-yaml-clib==0.2", "zope-interface==6"}; !slices.Equal(got, want) {
		t.Errorf("Packages = %v, want %v", got, want)
	}
}

// What pip would read in another way than we do is refused, or read as pip does.
func TestCheckReadsLikePip(t *testing.T) {
	for _, text := range []string{
		"six\n# x \\\n--only-binary :none:\n", // a comment is not continued
		"six\n--only-binary :none: \\",        // the last line is continued by nothing
		"six\n-\\\ne .\n",
		"six\x0b--index-url https://example.org\n", "six\r--index-url https://example.org\n",
		"six\u2028-e .\n", "six\u0085-e .\n", "\ufeffsix\n", "# coding: utf-7\nsix\n", "#!x\n# -*- coding=latin1 -*-\nsix\n", "\xff\xfes\x00",
	} {
		if err := pip.Check("requirements.txt", text); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("Check(%q) = %v, want E_SPEC", text, err)
		}
	}
	if err := pip.Check("requirements.txt", "six # größer\r\nnumpy \\\r\n  >=2\n"); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
}
