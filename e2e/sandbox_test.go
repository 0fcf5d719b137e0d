package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// probe prints what a program can see and do. The same text runs inside a job
// and, as positive control, in a container without our guards.
const probe = `
echo uid=$(id -u)
echo cap=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
echo nnp=$(sed -n 's/^NoNewPrivs:[[:space:]]*//p' /proc/self/status)
echo seccomp=$(sed -n 's/^Seccomp:[[:space:]]*//p' /proc/self/status)
echo net=$(ls /sys/class/net | tr '\n' ' ')
echo routes=$(sed 1d /proc/net/route | wc -l)
echo root=$(touch /probe 2>/dev/null && echo writable || echo readonly)
echo inputs=$(touch /inputs/probe 2>/dev/null && echo writable || echo readonly)
echo code=$(touch /code/probe 2>/dev/null && echo writable || echo readonly)
echo outputs=$(touch /outputs/probe 2>/dev/null && echo writable || echo readonly)
echo host=$(test -e /host/etc/hostname -o -S /var/run/docker.sock && echo visible || echo hidden)
echo env=$(env | grep -c HOST_SECRET)
echo suid=$(cp /bin/sh /outputs/s 2>/dev/null; chmod 4755 /outputs/s 2>/dev/null; /outputs/s -p -c 'id -u' 2>/dev/null)
rm -f /outputs/s /outputs/probe
`

func parseProbe(out string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			m[k] = strings.TrimSpace(v)
		}
	}
	return m
}

// From inside a job: no network but lo, root and inputs read-only, uid not 0,
// no capabilities, seccomp on, nothing of the host. Each with a control in
// which the same probe shows the opposite.
func TestSandboxFromInside(t *testing.T) {
	t.Setenv("HOST_SECRET", "x")
	n := newNode(t)
	script := write(t, t.TempDir(), "probe.py", "import subprocess\nprint(subprocess.run(['sh'], input='''"+
		strings.ReplaceAll(probe, `\`, `\\`)+"''', text=True, capture_output=True).stdout)\n")
	n.ok("job", "submit", "-f", script, "--once", "-c", logsDir(t), "--cache", "off")
	inside := parseProbe(n.ok("job", "logs", "@last"))

	image := n.ok("image", "list", "-q")
	shell := strings.Fields(image[strings.Index(image, "ipdc/shell"):])[0]
	out, err := exec.Command("docker", "run", "--rm", "-i", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--user", "0", "-e", "HOST_SECRET=x",
		"--tmpfs", "/inputs", "--tmpfs", "/code", "--tmpfs", "/outputs:exec", "-v", "/:/host:ro", "--name", "probe-control-"+n.id,
		shell, "sh", "-c", probe).CombinedOutput()
	if err != nil {
		t.Fatalf("control: %v\n%s", err, out)
	}
	open := parseProbe(string(out))

	for _, c := range []struct{ what, want string }{
		{"cap", "0000000000000000"}, {"nnp", "1"}, {"seccomp", "2"}, {"net", "lo"}, {"routes", "0"},
		{"root", "readonly"}, {"inputs", "readonly"}, {"code", "readonly"},
		{"host", "hidden"}, {"env", "0"},
	} {
		if inside[c.what] != c.want {
			t.Errorf("inside a job %s = %q, want %q", c.what, inside[c.what], c.want)
		}
		if open[c.what] == c.want {
			t.Errorf("control: %s = %q in an open container too: the probe shows nothing", c.what, c.want)
		}
	}
	if inside["uid"] == "0" || inside["uid"] == "" || open["uid"] != "0" {
		t.Errorf("uid = %q inside, %q in the control", inside["uid"], open["uid"])
	}
	if inside["suid"] != inside["uid"] {
		t.Errorf("a set-uid shell ran as %q, the job is %q", inside["suid"], inside["uid"])
	}
	if inside["outputs"] != "writable" {
		t.Errorf("outputs = %q, want writable", inside["outputs"])
	}
}
