package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// gangBench is a gang of two tasks, a-0 and b-0. The second one sends bytes to the
// first and then asks it for a byte again and again: by the gang's relay, and in
// turns with that by TCP between two processes of its own container.
const gangBench = `
version: ipdc/v1
cache: "off"
isolation: %s
gang: {roles: {a: 1, b: 1}}
resources: {cpu: 1, memory: 256MiB, disk: 16MiB}
run:
  image: python
  command:
  - python3
  - -c
  - |
    import json, os, socket, statistics, time
    SIZE, ROUNDS, ASKED = %d << 20, 5, 300
    def serve(s):
        going = True
        while going:
            c, _ = s.accept()
            try:
                going = answer(c)
            except ConnectionResetError:
                pass  # who asked has heard enough
            c.close()
    def answer(c):
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind = c.recv(1)
        if kind == b"p":
            while c.recv(1):
                c.sendall(b"p")
        elif kind == b"t":
            got, buf = 0, bytearray(1 << 20)
            while n := c.recv_into(buf):
                got += n
            c.sendall(b"%%d\n" %% got)
        return kind != b"q"
    def dial(at):
        while True:
            try:
                c = socket.create_connection(at, 30)
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return c
            except OSError:
                time.sleep(0.05)
    def rate(at):
        c, data = dial(at), bytes(1 << 20)
        began = time.monotonic()
        c.sendall(b"t")
        for _ in range(SIZE >> 20):
            c.sendall(data)
        c.shutdown(socket.SHUT_WR)
        got = int(c.makefile().readline())
        if got != SIZE:
            raise SystemExit("%%d bytes came, of %%d" %% (got, SIZE))
        return SIZE / 1e6 / (time.monotonic() - began)
    def trip(at):
        c, times = dial(at), []
        c.sendall(b"p")
        for _ in range(ASKED):
            began = time.monotonic()
            c.sendall(b"p"); c.recv(1)
            times.append(1e6 * (time.monotonic() - began))
        c.close()
        return statistics.median(times)
    def ready(at):
        while True:
            try:
                c = dial(at); c.sendall(b"p"); c.sendall(b"p")
                if c.recv(1):
                    return
            except OSError:
                pass
            time.sleep(0.05)
    peers = json.loads(os.environ["IPDC_PEERS"])
    if os.environ["IPDC_TASK"] == "a-0":
        serve(socket.create_server(("127.0.0.1", int(os.environ["IPDC_PORT"]))))
        raise SystemExit
    host, port = peers["a"][0].rsplit(":", 1)
    at = {"relay": (host, int(port)), "plain": ("127.0.0.1", 9000)}
    s = socket.create_server(at["plain"])
    if os.fork() == 0:
        serve(s)
        os._exit(0)
    ready(at["relay"])
    said = {}
    for _ in range(ROUNDS):
        for way in at:
            said.setdefault(way, []).append(rate(at[way]))
            said.setdefault(way + "_trip", []).append(trip(at[way]))
    for way in at:
        c = dial(at[way]); c.sendall(b"q")
        try:
            c.recv(1)  # who goes before it has arrived may take it along
        except ConnectionResetError:
            pass
    json.dump(said, open("/outputs/said", "w"))
`

// gangSaid is what its second task measured: MB/s, and µs for a byte and its
// answer, of each round.
type gangSaid struct {
	Relay, Plain []float64
	RelayTrip    []float64 `json:"relay_trip"`
	PlainTrip    []float64 `json:"plain_trip"`
}

func benchGang(t testing.TB, w io.Writer) {
	testenv.Runtime(t, "runsc")
	const size = 64
	fmt.Fprintf(w, `
## What the tasks of a gang say to each other
Two tasks of a Python program: one sends %d MiB to the other in pieces of 1 MiB, and then a byte that is answered 300 times, by the gang's
relay and, in turns with that, by plain TCP over loopback between two processes of its own container; 5 rounds, the medians. The whole
job is a gang that ends at once, from submit to result, the median of 5.

| tasks | isolation | relay | plain TCP | ratio | a byte and its answer | plain TCP | the whole job |
|---|---|---|---|---|---|---|---|
`, size)
	one := newNode(t, "--cpu", "2")
	a, b := newMember(t, "--cpu", "1"), newMember(t, "--cpu", "1")
	b.joins(a)
	for _, at := range []struct {
		where string
		n     *node
	}{{"at one node", one}, {"at two nodes of one machine", a}} {
		for _, isolation := range []string{"standard", "strict"} {
			s := at.n.gangSays(fmt.Sprintf(gangBench, isolation, size))
			whole := race(1, 5, func() {
				at.n.ok("job", "submit", write(t, t.TempDir(), "gang.yaml", strings.Replace(nothingGang, "ISOLATION", isolation, 1)))
			})[0]
			relay, plain := middle(s.Relay), middle(s.Plain)
			fmt.Fprintf(w, "| %s | %s | %.0f MB/s | %.0f MB/s | %.3f | %.0f µs | %.0f µs | %s |\n", at.where, isolation, relay, plain, relay/plain,
				middle(s.RelayTrip), middle(s.PlainTrip), show(quantile(whole, 0.5)))
		}
	}
}

// nothingGang is a gang that ends at once.
const nothingGang = `
version: ipdc/v1
cache: "off"
isolation: ISOLATION
gang: {roles: {a: 1, b: 1}}
resources: {cpu: 1, memory: 256MiB, disk: 16MiB}
run: {image: shell, command: ["true"]}
`

// gangSays runs a gang and returns what it measured.
func (n *node) gangSays(spec string) (s gangSaid) {
	n.t.Helper()
	root := n.ok("job", "submit", write(n.t, n.t.TempDir(), "gang.yaml", spec))
	got := n.got(root)
	if err := json.Unmarshal([]byte(got[filepath.Join("b-0", "said")]), &s); err != nil || len(s.Relay) == 0 || len(s.Plain) == 0 {
		n.t.Fatalf("the gang left %q, %v", got, err)
	}
	return s
}

func middle(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
