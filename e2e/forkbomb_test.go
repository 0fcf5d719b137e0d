package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/client"
)

// forkBomb submits jobs by each way to a node's API that it is told of, and says
// what each of the tries came to: the first line of the answer, or the error.
const forkBomb = `
import json, os, socket

api, token, ways, tries = os.environ["API"], os.environ["TOKEN"], os.environ["WAYS"].split(), int(os.environ["TRIES"])
spec = json.dumps({"version": "ipdc/v1", "cache": "off", "name": "child", "run": {"image": "shell", "command": ["true"]}})
request = (f"POST /v1/jobs HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
           f"Content-Length: {len(spec)}\r\nConnection: close\r\n\r\n{spec}").encode()

def unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s

def direct(_):
    return socket.create_connection(api.rsplit(":", 1), 5)

def proxied(_):
    proxy = os.environ["HTTPS_PROXY"].removeprefix("http://").rsplit(":", 1)
    s = socket.create_connection((proxy[0], int(proxy[1])), 20)
    s.sendall(f"CONNECT {api} HTTP/1.1\r\nHost: {api}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = s.recv(1)
        if not more:
            break
        head += more
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise OSError(head.split(b"\r\n")[0].decode())
    return s

seen = {}
for way in ways:
    how, _, rest = way.partition("=")
    seen[way] = []
    for _ in range(tries):
        try:
            s = globals()[how](rest)
            s.sendall(request)
            seen[way].append(s.makefile("rb").readline().decode().strip())
        except Exception as e:
            seen[way].append(f"{type(e).__name__}: {e}")
print(json.dumps(seen))
`

// S26: a job that submits jobs, with the node's own token, has no way to the API.
// Where the node's administrator has opened one, and so the attack works, the
// token's quota bounds it. Nothing counts how deep jobs are in each other, as none
// is of another's making but by a token that a person gave it.
func TestS26JobSubmitsJobs(t *testing.T) {
	parallel(t)
	n := newNode(t, "--network-allow-private", "127.0.0.0/8", "IPDC_API_RATE=0.01") // one now, the next in 100 s
	info, err := n.client().Node(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	children := func() int {
		jobs, err := n.client().Jobs(t.Context(), client.JobFilter{All: true, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, j := range jobs {
			if j.Spec.Name == "child" {
				n.ok("job", "wait", j.ID.String()) // what runs at the test's end goes on
				count++
			}
		}
		return count
	}
	const tries = 10
	bomb := func(ways []string, more ...string) (seen map[string][]string) {
		id := n.ok(append([]string{"job", "submit", "-d", "--once", "--cache", "off", "-f", write(t, t.TempDir(), "bomb.py", forkBomb),
			"-E", "API=" + info.Address, "-E", "TOKEN=" + n.secret(), "-E", fmt.Sprint("TRIES=", tries), "-E", "WAYS=" + strings.Join(ways, " ")}, more...)...)
		n.ok("job", "wait", id)
		if err := json.Unmarshal([]byte(n.ok("job", "logs", id)), &seen); err != nil {
			t.Fatal(err)
		}
		return seen
	}
	ways := []string{"direct", "proxied", "unix=" + info.Socket, "unix=" + filepath.Join("/proc/1/root", info.Socket), "unix=/var/run/docker.sock"}
	for way, said := range bomb(ways) {
		for _, s := range said {
			if strings.HasPrefix(s, "HTTP/") || s == "" {
				t.Errorf("%s comes to %q, want nothing that answers", way, s)
			}
		}
	}
	elsewhere := greet(t, "127.0.0.1:0", constant("elsewhere"))
	for way, said := range bomb(ways, "--network", elsewhere.String()) {
		for _, s := range said {
			if strings.HasPrefix(s, "HTTP/") || s == "" {
				t.Errorf("with a grant of another address %s comes to %q, want nothing that answers", way, s)
			}
		}
	}
	if got := children(); got != 0 {
		t.Errorf("%d jobs were submitted by jobs", got)
	}

	accepted, refused := 0, 0
	said := bomb([]string{"proxied"}, "--network", info.Address)["proxied"]
	for _, s := range said {
		switch {
		case strings.Contains(s, " 20"):
			accepted++
		case strings.Contains(s, " 429 "):
			refused++
		}
	}
	if accepted == 0 || refused == 0 || accepted+refused != tries || accepted > tries/2 {
		t.Errorf("by the way that was opened %d of %d jobs were taken and %d refused for the quota: %q", accepted, tries, refused, said)
	}
	if got := children(); got != accepted {
		t.Errorf("control: the node has %d jobs of the job's, want %d", got, accepted)
	}
}
