package main

import (
	"regexp"
	"strconv"
	"strings"
)

// hole is a vulnerability through which a program could leave its container,
// or somebody gain on its host.
type hole struct {
	program string
	cve     string   // with what it takes, where that is not usual
	since   string   // first release with it; "" = all old ones
	mended  []string // first release of each series without it, ascending
}

// holes are those that reach a job of ipdc, a container without network, with
// no capabilities, of an image that a user chose, and those that give other
// users of the host or the engine what is root's.
// Sources: the security advisories of the repositories opencontainers/runc,
// moby/moby and containerd/containerd on github.com, and kernel.org's. For
// gVisor's runsc see judgeRunsc.
var holes = []hole{
	{"runc", "CVE-2019-5736", "", []string{"1.0.0-rc7"}},
	{"runc", "CVE-2021-30465", "", []string{"1.0.0-rc95"}},
	{"runc", "CVE-2023-27561", "", []string{"1.1.5"}},
	{"runc", "CVE-2023-28642", "", []string{"1.1.5"}},
	{"runc", "CVE-2024-21626", "", []string{"1.1.12"}},
	{"runc", "CVE-2025-31133", "", []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}},
	{"runc", "CVE-2025-52565", "", []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}},
	{"runc", "CVE-2025-52881", "", []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}},
	{"docker", "CVE-2021-41089", "", []string{"20.10.9"}},
	{"docker", "CVE-2021-41091", "", []string{"20.10.9"}},
	{"docker", "CVE-2022-24769", "", []string{"20.10.14"}},
	{"docker", "CVE-2022-36109", "", []string{"20.10.18"}},
	{"docker", "CVE-2024-41110 (with authorization plugins)", "19.3.0", []string{"23.0.15", "25.0.6", "26.1.5", "27.1.1"}},
	{"containerd", "CVE-2021-32760", "", []string{"1.4.8", "1.5.4"}},
	{"containerd", "CVE-2021-41103", "", []string{"1.4.11", "1.5.7"}},
	{"containerd", "CVE-2024-40635", "", []string{"1.6.38", "1.7.27", "2.0.4"}},
	{"containerd", "CVE-2024-25621", "", []string{"1.7.29", "2.0.7", "2.1.5", "2.2.0"}},
	{"kernel", "CVE-2016-5195 (Dirty COW)", "2.6.22", []string{"4.4.26", "4.7.9", "4.8.3"}},
	{"kernel", "CVE-2022-0847 (Dirty Pipe)", "5.8.0", []string{"5.10.102", "5.15.25", "5.16.11"}},
	{"kernel", "CVE-2023-3269 (StackRot)", "6.1.0", []string{"6.1.37", "6.3.11", "6.4.1"}},
}

// knownHoles returns the vulnerabilities of a release. A version that cannot be
// read has none that are known, nor has a kernel that a distribution numbers by
// its interface, as 6.1.0-18-amd64, which is never newer than its x.y.0.
func knownHoles(program, version string) (list []string) {
	v, ok := parseRelease(version)
	if !ok || program == "kernel" && packaged.MatchString(version) {
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
	if since, ok := parseRelease(h.since); ok && v.less(since) {
		return false
	}
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

// packaged are kernels of which the release does not tell the patch level.
var packaged = regexp.MustCompile(`^\d+\.\d+\.0-\d`)

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
	for _, mark := range []string{"+ds", "~ds", "+dfsg", "deb", "ubuntu", ".el", ".fc", "-alpine"} {
		if strings.Contains(version, mark) {
			return version + " is a distribution's package, which may have been mended under this number: " +
				"apply its security updates (apt-get upgrade), and look the numbers up in its tracker (apt changelog " + program + ")"
		}
	}
	if program == "kernel" {
		return version + " may be a distribution's, which mends it under this number: apply its updates and boot the new kernel"
	}
	return "upgrade " + program + " to the newest release of its series"
}
