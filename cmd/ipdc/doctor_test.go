package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

func TestKnownHoles(t *testing.T) {
	const authz = "CVE-2024-41110 (with authorization plugins)"
	of2025 := []string{"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"}
	for _, c := range []struct {
		program, version string
		want             []string
	}{
		{"runc", "1.1.5+ds1-1+deb12u1", append([]string{"CVE-2024-21626"}, of2025...)},
		{"runc", "1.1.12", of2025},
		{"runc", "1.1.15", of2025},
		{"runc", "1.2.7", of2025},
		{"runc", "1.2.8", nil},
		{"runc", "1.3.0", of2025},
		{"runc", "1.3.3", nil},
		{"runc", "1.4.0-rc.2", of2025},
		{"runc", "1.4.0-rc.3", nil},
		{"runc", "1.4.0", nil},
		{"runc", "2.0.0", nil},
		{"runc", "1.0.0-rc93", slices.Concat([]string{"CVE-2021-30465", "CVE-2023-27561", "CVE-2023-28642", "CVE-2024-21626"}, of2025)},
		{"runc", "unknown", nil},
		{"runc", "", nil},
		{"docker", "18.9.9", []string{"CVE-2021-41089", "CVE-2021-41091", "CVE-2022-24769", "CVE-2022-36109"}},
		{"docker", "20.10.5", []string{"CVE-2021-41089", "CVE-2021-41091", "CVE-2022-24769", "CVE-2022-36109", authz}},
		{"docker", "20.10.24+dfsg1", []string{authz}},
		{"docker", "24.0.9", []string{authz}},
		{"docker", "25.0.6", nil},
		{"docker", "27.1.0", []string{authz}},
		{"docker", "27.1.1", nil},
		{"docker", "28.2.2", nil},
		{"containerd", "v1.5.6", []string{"CVE-2021-41103", "CVE-2024-40635", "CVE-2024-25621"}},
		{"containerd", "1.6.20~ds1", []string{"CVE-2024-40635", "CVE-2024-25621"}},
		{"containerd", "1.6.38", []string{"CVE-2024-25621"}},
		{"containerd", "1.7.29", nil},
		{"containerd", "2.1.4", []string{"CVE-2024-25621"}},
		{"containerd", "2.2.0", nil},
		{"kernel", "4.8.2", []string{"CVE-2016-5195 (Dirty COW)"}},
		{"kernel", "4.9.1", nil},
		{"kernel", "5.7.19", nil},
		{"kernel", "5.10.101", []string{"CVE-2022-0847 (Dirty Pipe)"}},
		{"kernel", "5.10.102", nil},
		{"kernel", "5.15.24-1.fc35.x86_64", []string{"CVE-2022-0847 (Dirty Pipe)"}},
		{"kernel", "6.1.36", []string{"CVE-2023-3269 (StackRot)"}},
		{"kernel", "6.1.0-18-amd64", nil}, // which may be 6.1.76
		{"kernel", "6.4.1", nil},
	} {
		if diff := cmp.Diff(c.want, knownHoles(c.program, c.version)); diff != "" {
			t.Errorf("knownHoles(%q, %q) (-want +got):\n%s", c.program, c.version, diff)
		}
	}
}

// statuses returns "check status" for each finding, and fails for one that is
// not ok and says nothing to do.
func statuses(t *testing.T, list []finding) (out []string) {
	t.Helper()
	for _, f := range list {
		out = append(out, f.Check+" "+string(f.Status))
		if (f.Status == statusOK) != (f.Advice == "") || f.Found == "" {
			t.Errorf("finding %+v: want advice where something is wrong, and only there", f)
		}
	}
	return out
}

func TestJudgeEngine(t *testing.T) {
	good := docker.Facts{
		Host: "unix:///x", Version: "28.5.2", API: "1.51", Runc: "1.3.3", Containerd: "v1.7.29", Kernel: "6.12.57", System: "Debian", Storage: "overlay2",
		CgroupDriver: "systemd", CgroupVersion: "2", Runtimes: []string{"runc", "runsc"}, Strict: "runsc", RootDir: "/var/lib/docker",
	}
	hole, old, bare := good, good, good
	hole.Problem = "it has no seccomp filter"
	old.Version, old.Runc, old.Storage = "20.10.5", "1.1.5+ds1-1+deb12u1", "vfs"
	old.Containerd, old.Kernel = "1.6.20~ds1", "5.10.101"
	bare.CgroupDriver, bare.Runtimes, bare.Strict = "none", []string{"runc"}, ""
	for name, c := range map[string]struct {
		facts docker.Facts
		want  []string
		says  string
	}{
		"good": {good, []string{"engine ok", "runc ok", "storage ok", "cgroup ok", "runtimes ok"}, "isolation: strict by runsc"},
		"hole": {hole, []string{"engine fail", "runc ok", "storage ok", "cgroup ok", "runtimes ok"}, "no seccomp"},
		"old":  {old, []string{"engine ok", "runc warn", "docker warn", "containerd warn", "kernel warn", "storage warn", "cgroup ok", "runtimes ok"}, "may have been mended"},
		"bare": {bare, []string{"engine ok", "runc ok", "storage ok", "cgroup warn", "runtimes ok"}, "none for isolation: strict"},
	} {
		list := judgeEngine(c.facts, "runsc")
		if diff := cmp.Diff(c.want, statuses(t, list)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		text := ""
		for _, f := range list {
			text += f.Found + f.Advice
		}
		if !strings.Contains(text, c.says) {
			t.Errorf("%s: %q does not say %q", name, text, c.says)
		}
	}
}

func TestJudgeRunsc(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		said  string
		err   error
		want  status
		found string
	}{
		{"runsc version release-20260907.0\nspec: 1.2.1\n", nil, statusOK, "release-20260907.0"},
		{"runsc version release-20251122.0\n", nil, statusOK, "release-20251122.0"},
		{"runsc version release-20251121.0\n", nil, statusWarn, "366 days"},
		{"runsc version release-20230904.0-3-g123456\n", nil, statusWarn, "release-20230904.0-3-g123456"},
		{"runsc version v0.0.0-20260905035102-160fafc42237\nspec: 1.2.1\n", nil, statusOK, "v0.0.0-20260905035102"},
		{"runsc version v0.0.0-20240905035102-160fafc42237\n", nil, statusWarn, "days old"},
		{"runsc version release-20269999.0\n", nil, statusWarn, "no day"},
		{"runsc version VERSION_MISSING\nspec: 1.2.1\n", nil, statusWarn, "VERSION_MISSING"},
		{"", os.ErrNotExist, statusWarn, "not exist"},
	} {
		f := judgeRunsc(c.said, c.err, now)
		if f.Status != c.want || !strings.Contains(f.Found, c.found) || (f.Advice == "") != (c.want == statusOK) {
			t.Errorf("judgeRunsc(%q, %v) = %+v, want %s with %q", c.said, c.err, f, c.want, c.found)
		}
	}
}

// The real engine tells what the checks need.
func TestInspectEngine(t *testing.T) {
	f, err := docker.Inspect(t.Context(), testenv.Docker(t), "", "runsc")
	if err != nil {
		t.Fatal(err)
	}
	if f.Version == "" || f.API == "" || f.Runc == "" || f.Containerd == "" || f.Kernel == "" || f.Storage == "" || len(f.Runtimes) == 0 || f.RootDir == "" {
		t.Errorf("Inspect = %+v, want every field", f)
	}
	if f.Strict != "" { // a machine may have none
		if list := checkRunsc(t.Context(), f); len(list) != 1 || !runscRelease.MatchString("runsc version "+list[0].Found) {
			t.Errorf("runsc of the engine = %+v, want its release", list)
		}
	}
	if _, ok := parseRelease(f.Runc); !ok {
		t.Errorf("runc's version %q cannot be read", f.Runc)
	}
}

func TestAskIndex(t *testing.T) {
	clock := time.Now()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", clock.UTC().Format(http.TimeFormat))
		if r.URL.Path != "/simple/pip/" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(bundle, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	pool, ca := authorities("SSL_CERT_FILE", bundle)
	if ca.Status != statusOK || !strings.Contains(ca.Found, "SSL_CERT_FILE") {
		t.Errorf("CA = %+v", ca)
	}
	for name, c := range map[string]struct {
		index string
		pool  *x509.CertPool
		off   time.Duration
		want  []string
	}{
		"good":        {s.URL + "/simple", pool, 0, []string{"index ok"}},
		"other page":  {s.URL + "/other", pool, 0, []string{"index warn"}},
		"unknown CA":  {s.URL + "/simple", x509.NewCertPool(), 0, []string{"index warn"}},
		"nobody":      {"https://127.0.0.1:1/simple", pool, 0, []string{"index warn"}},
		"no URL":      {"pypi.org", pool, 0, []string{"index warn"}},
		"other clock": {s.URL + "/simple", pool, -time.Hour, []string{"index ok", "clock warn"}},
	} {
		clock = time.Now().Add(c.off)
		if diff := cmp.Diff(c.want, statuses(t, askIndex(t.Context(), c.index, c.pool))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	const secret = "s3cret"
	for _, f := range askIndex(t.Context(), "https://user:"+secret+"@127.0.0.1:1/simple", pool) {
		if strings.Contains(f.Found+f.Advice, secret) {
			t.Errorf("%+v tells the password", f)
		}
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "missing"), os.DevNull} {
		if _, ca := authorities("ca-file", file); ca.Status != statusWarn {
			t.Errorf("CA bundle %s = %+v, want a warning", file, ca)
		}
	}
}

func TestJudgeDisk(t *testing.T) {
	const total = 100 * jobspec.GiB
	for _, c := range []struct {
		free, minFree jobspec.Bytes
		want          status
	}{
		{50 * jobspec.GiB, 0, statusOK},
		{9 * jobspec.GiB, 0, statusWarn}, // below twice the 5 % that are kept
		{4 * jobspec.GiB, 0, statusFail},
		{5 * jobspec.GiB, jobspec.GiB, statusOK},
		{50 * jobspec.GiB, 60 * jobspec.GiB, statusFail},
	} {
		f := judgeDisk(c.free, total, c.minFree, "/state")
		if statuses(t, []finding{f}); f.Status != c.want {
			t.Errorf("judgeDisk(%s free, min-free %s) = %+v, want %s", c.free, c.minFree, f, c.want)
		}
	}
}

func TestJudgeClock(t *testing.T) {
	if f := judgeClock(time.Now()); f.Status != statusOK {
		t.Errorf("now = %+v", f)
	}
	if f := judgeClock(time.Date(1970, 1, 1, 0, 5, 0, 0, time.UTC)); f.Status != statusFail || f.Advice == "" {
		t.Errorf("1970 = %+v", f)
	}
}

func TestJudgeUIDs(t *testing.T) {
	taken := jobspec.Failure{Kind: jobspec.KindPolicy, Detail: "getent passwd gives ann some", Hint: "have it use others"}.Error()
	for _, c := range []struct {
		files, asked error
		want         status
		found        string
	}{
		{nil, nil, statusOK, "nobody"},
		{taken, nil, statusFail, "ann"},
		{nil, taken, statusFail, "ann"},
		{os.ErrPermission, taken, statusFail, "ann"},
		{os.ErrPermission, nil, statusFail, "permission"},
		{nil, os.ErrDeadlineExceeded, statusWarn, "timeout"}, // nobody who is away keeps a node from starting
	} {
		f := judgeUIDs(c.files, c.asked)
		if f.Status != c.want || !strings.Contains(f.Found, c.found) || (f.Advice == "") != (c.want == statusOK) {
			t.Errorf("judgeUIDs(%v, %v) = %+v, want %s with %q", c.files, c.asked, f, c.want, c.found)
		}
	}
}

func TestJudgeNamespaces(t *testing.T) {
	for _, c := range []struct {
		most, clone string
		err         error
		want        string
	}{
		{"96365", "1", nil, "on, 96365"}, {"96365", "", nil, "on, 96365"}, {"0", "", nil, "off"}, {"96365", "0", nil, "off"}, {"", "", os.ErrNotExist, "no user namespaces"},
	} {
		if f := judgeNamespaces(c.most, c.clone, c.err); !strings.Contains(f.Found, c.want) {
			t.Errorf("judgeNamespaces(%q, %q, %v) = %+v, want %q", c.most, c.clone, c.err, f, c.want)
		}
	}
}

// Each item has a number of its own, in order, and those that warn say what to
// do; of what is ours, every item about jobs, none does.
func TestCISItems(t *testing.T) {
	f, err := docker.Inspect(t.Context(), testenv.Docker(t), "", "runsc")
	if err != nil {
		t.Fatal(err)
	}
	list := cisItems(f)
	last := 0
	for _, i := range list {
		var section, item, part int
		fmt.Sscanf(i.ID, "%d.%d.%d", &section, &item, &part)
		at := section*10_000 + item*100 + part
		if at <= last || i.Title == "" || i.Found == "" || (i.Status == docker.ItemWarn) != (i.Advice != "") {
			t.Errorf("item %+v: want the next number, a title, a finding, and advice with a warning only", i)
		}
		last = at
		if strings.Contains(i.Advice, "fault of ipdc") {
			t.Errorf("a job's container does not stand it: %+v", i)
		}
	}
	if len(list) < 60 || cisFinding(list).Status != statusOK {
		t.Errorf("%d items, %+v", len(list), cisFinding(list))
	}
}
