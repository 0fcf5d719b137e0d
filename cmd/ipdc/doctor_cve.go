package main

import (
	"regexp"
	"strconv"
	"strings"
)

// hole is a vulnerability through which a program could leave its container,
// or gain on its host.
type hole struct {
	program string
	cve     string
	mended  []string // first release of each series without it, ascending
}

// holes are those that reach a job of ipdc: a container without network, with
// no capabilities, of an image that a user chose.
// Source: https://github.com/opencontainers/runc/security/advisories and
// https://github.com/moby/moby/security/advisories.
var holes = []hole{
	{"runc", "CVE-2019-5736", []string{"1.0.0-rc7"}},
	{"runc", "CVE-2021-30465", []string{"1.0.0-rc95"}},
	{"runc", "CVE-2023-27561", []string{"1.1.5"}},
	{"runc", "CVE-2023-28642", []string{"1.1.5"}},
	{"runc", "CVE-2024-21626", []string{"1.1.12"}},
	{"runc", "CVE-2025-31133", []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}},
	{"runc", "CVE-2025-52565", []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}},
	{"runc", "CVE-2025-52881", []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}},
	{"docker", "CVE-2021-41091", []string{"20.10.9"}},
	{"docker", "CVE-2022-24769", []string{"20.10.14"}},
}

// knownHoles returns the vulnerabilities of a release. A version that cannot be
// read has none that are known.
func knownHoles(program, version string) (list []string) {
	v, ok := parseRelease(version)
	if !ok {
		return nil
	}
	for _, h := range holes {
		if h.program == program && h.in(v) {
			list = append(list, h.cve)
		}
	}
	return list
}

// in reports whether the hole is in release v: it is older than the release
// that mended its own series or, where that series got none, the next one.
func (h hole) in(v release) bool {
	for _, m := range h.mended {
		fixed, _ := parseRelease(m)
		if v.less(fixed) {
			return true
		}
		if v.sameSeries(fixed) {
			return false
		}
	}
	return false
}

// release is major, minor, patch and candidate; a final release has the
// highest candidate.
type release [4]int

const finalRelease = 1 << 30

var releaseText = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(?:-rc\.?(\d+))?`)

func parseRelease(s string) (r release, ok bool) {
	m := releaseText.FindStringSubmatch(s)
	if m == nil {
		return r, false
	}
	for i := range r {
		r[i], _ = strconv.Atoi(m[i+1]) // digits, or empty
	}
	if m[4] == "" {
		r[3] = finalRelease
	}
	return r, true
}

func (r release) less(o release) bool {
	for i := range r {
		if r[i] != o[i] {
			return r[i] < o[i]
		}
	}
	return false
}

func (r release) sameSeries(o release) bool { return r[0] == o[0] && r[1] == o[1] }

// upgradeAdvice knows that distributions mend packages without a new release.
func upgradeAdvice(program, version string) string {
	for _, mark := range []string{"+ds", "deb", "ubuntu", ".el", ".fc", "-alpine"} {
		if strings.Contains(version, mark) {
			return version + " is a distribution's package, which may have been mended under this number: " +
				"apply its security updates (apt-get upgrade), and look the numbers up in its tracker (apt changelog " + program + ")"
		}
	}
	return "upgrade " + program + " to the newest release of its series"
}
