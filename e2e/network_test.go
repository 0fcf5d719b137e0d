package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/testenv"
)

// reach says what each target in TARGETS leads to: the line that a server
// greets with, or the error.
const reach = `
import json, os, socket, urllib.request

def line(s):
    return s.makefile("rb").readline().decode().strip()

def proxied(host, port):
    proxy = os.environ["HTTPS_PROXY"].removeprefix("http://").rsplit(":", 1)
    s = socket.create_connection((proxy[0], int(proxy[1])), 20)
    s.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    f = s.makefile("rb")
    status = f.readline().decode().strip()
    while f.readline().strip():
        pass
    if " 200 " not in status:
        raise OSError(status)
    return f.readline().decode().strip()

def direct(host, port):
    return line(socket.create_connection((host.strip("[]"), int(port)), 5))

def datagram(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(3)
    s.sendto(b"?", (host, int(port)))
    return s.recv(64).decode()

def name(host, _):
    return socket.getaddrinfo(host, 80)[0][4][0]

def kernel(*_):
    return os.uname().release

def write(path, _):
    with open(path, "w"):
        return "written"

def https(host, port):
    return urllib.request.urlopen(f"https://{host}:{port}/", timeout=20).read().decode()

seen = {}
for target in os.environ["TARGETS"].split():
    how, rest = target.split("=", 1)
    host, port = rest.rsplit(":", 1)
    try:
        seen[target] = {"got": globals()[how](host, port)}
    except Exception as e:
        seen[target] = {"error": f"{type(e).__name__}: {e}"}
print(json.dumps(seen))
`

// pythonImage is the stock image that jobs of -f run in.
func (n *node) pythonImage() string {
	list := n.ok("image", "list", "-q")
	return strings.Fields(list[strings.Index(list, "ipdc/python"):])[0]
}

type reached struct{ Got, Error string }

// reach runs the program with a network of grants and returns what it reached.
func (n *node) reach(isolation string, grants []string, targets ...string) map[string]reached {
	n.t.Helper()
	args := []string{"job", "submit", "--isolation", isolation, "-f", write(n.t, n.t.TempDir(), "reach.py", reach), "-E", "TARGETS=" + strings.Join(targets, " "), "--once", "--cache", "off"}
	if len(grants) > 0 {
		args = append(args, "--network", strings.Join(grants, ","))
	}
	n.ok(args...)
	return parseReach(n.t, n.ok("job", "logs", "@last"))
}

func parseReach(t testing.TB, text string) map[string]reached {
	t.Helper()
	seen := map[string]reached{}
	if err := json.Unmarshal([]byte(text), &seen); err != nil {
		t.Fatalf("the program said %q: %v", text, err)
	}
	return seen
}

// greet serves name to whoever connects, on an address of this machine.
func greet(t testing.TB, addr string, name func() string) netip.AddrPort {
	t.Helper()
	return testenv.Serve(t, addr, func(c net.Conn) { fmt.Fprintln(c, name()) })
}

func constant(s string) func() string { return func() string { return s } }

// gateway is this machine's address on the engine's default bridge. An engine
// that found the bridge when it started does not tell it.
func gateway(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("docker", "network", "inspect", "bridge", "-f", `{{index .Options "com.docker.network.bridge.name"}}`).Output()
	var addr string
	if err == nil {
		addr, err = addressOf(strings.TrimSpace(string(out)))
	}
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(addr, "0")); err == nil {
			l.Close()
		}
	}
	testenv.Need(t, "docker", err)
	return addr
}

// addressOf returns the first IPv4 address of a network interface.
func addressOf(name string) (string, error) {
	nic, err := net.InterfaceByName(name)
	if err != nil {
		return "", fmt.Errorf("interface %q: %w", name, err)
	}
	addrs, err := nic.Addrs()
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Addr().String(), nil
		}
	}
	return "", fmt.Errorf("interface %s has no IPv4 address", name)
}

// isolations runs a test at both levels of isolation: on the engine's default
// runtime and, strict, on gVisor.
func isolations(t *testing.T, test func(t *testing.T, isolation string)) {
	t.Run("runc", func(t *testing.T) { test(t, "standard") })
	t.Run("runsc", func(t *testing.T) {
		testenv.Runtime(t, "runsc")
		test(t, "strict")
	})
}

// A job reaches the granted name and port through the proxy, and nothing else
// in any way: N02 N03 N04 N05 N07 N09 N14. The controls show that each of the
// services can be reached, by a proxy that allows them and from a container on
// the engine's bridge.
func TestNetworkReachesOnlyWhatIsGranted(t *testing.T) {
	parallel(t)
	isolations(t, func(t *testing.T, isolation string) {
		gw := gateway(t)
		granted := greet(t, "127.0.0.1:0", constant("granted"))
		other := greet(t, "127.0.0.1:0", constant("other"))
		onGateway := greet(t, gw+":0", constant("gateway"))
		n := newNode(t, "--network-allow-private", "127.0.0.0/8,"+gw+"/32")
		info, err := n.client().Node(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		api := info.Address

		name := fmt.Sprintf("localhost:%d", granted.Port())
		refused := []string{
			"proxied=" + granted.String(), // by its address: only the name is granted
			fmt.Sprintf("proxied=localhost:%d", other.Port()), "proxied=" + other.String(),
			fmt.Sprintf("proxied=[::ffff:127.0.0.1]:%d", granted.Port()), fmt.Sprintf("proxied=[::1]:%d", granted.Port()),
			fmt.Sprintf("proxied=2130706433:%d", granted.Port()), fmt.Sprintf("proxied=0x7f000001:%d", granted.Port()),
			"proxied=" + onGateway.String(), "proxied=" + api, "proxied=169.254.169.254:80", "proxied=example.org:443",
			"direct=" + granted.String(), "direct=" + onGateway.String(), "direct=" + api, "direct=" + gw + ":2375",
			"direct=169.254.169.254:80", "direct=[fd00:ec2::254]:80", "direct=1.1.1.1:53", "direct=[2606:4700:4700::1111]:53",
			"datagram=1.1.1.1:53", "datagram=" + onGateway.String(),
			"write=/ipdc/net/x:0", "write=/ipdc/net/proxy.sock:0", "write=/ipdc/ca.pem:0",
			"name=example.org:0", "name=host.docker.internal:0", "name=gateway.docker.internal:0",
		}
		seen := n.reach(isolation, []string{name}, append(refused, "proxied="+name, "proxied=LOCALHOST.:"+fmt.Sprint(granted.Port()), "kernel=its:0", "write=/tmp/x:0")...)
		if k, strict := seen["kernel=its:0"].Got, isolation == "strict"; strings.Contains(k, "gvisor") != strict {
			t.Fatalf("with isolation %s the kernel is %q", isolation, k)
		}
		for _, target := range refused {
			if s := seen[target]; s.Error == "" {
				t.Errorf("%s leads to %q, want a refusal", target, s.Got)
			}
		}
		for _, target := range []string{"proxied=" + name, "proxied=LOCALHOST.:" + fmt.Sprint(granted.Port())} {
			if s := seen[target]; s.Got != "granted" {
				t.Errorf("%s = %+v, want the granted server", target, s)
			}
		}
		if s := seen["write=/tmp/x:0"]; s.Got != "written" {
			t.Errorf("control: a file in /tmp is not written: %+v", s)
		}
		if u := n.job("@last").Attempts[0].Receipt.Usage; u.NetIn == 0 {
			t.Errorf("the receipt's usage %+v has no bytes from the network", u)
		}

		// Control: granted, the same targets are reached through the proxy.
		seen = n.reach(isolation, []string{other.String(), onGateway.String()}, "proxied="+other.String(), "proxied="+onGateway.String())
		for target, want := range map[string]string{"proxied=" + other.String(): "other", "proxied=" + onGateway.String(): "gateway"} {
			if seen[target].Got != want {
				t.Errorf("control: %s = %+v, want %q", target, seen[target], want)
			}
		}
		// Control: from the engine's bridge the gateway answers.
		out, err := exec.Command("docker", "run", "--rm", "--name", "probe-control-"+n.id, "-e", "TARGETS=direct="+onGateway.String(),
			n.pythonImage(), "python3", "-c", reach).CombinedOutput()
		if err != nil {
			t.Fatalf("control: %v\n%s", err, out)
		}
		if s := parseReach(t, string(out))["direct="+onGateway.String()]; s.Got != "gateway" {
			t.Errorf("control: from the bridge the gateway is %+v", s)
		}
	})
}

// Private addresses are refused although they are granted, unless the node's
// settings name their network: an address when the job is submitted, a name
// when it has been resolved. Without a grant there is no way out at all.
func TestNetworkOfPrivateAddresses(t *testing.T) {
	parallel(t)
	service := greet(t, "127.0.0.1:0", constant("service"))
	byName := fmt.Sprintf("localhost:%d", service.Port())
	n := newNode(t)
	for _, grant := range []string{service.String(), "169.254.169.254:80", "[::1]:80", "[::ffff:10.0.0.1]:80"} {
		r := n.fails(5, "job", "submit", "--once", "-e", "true", "--network", grant)
		if !strings.Contains(r.stderr, "E_POLICY") || !strings.Contains(r.stderr, "--network-allow-private") {
			t.Errorf("N02 --network %s: %s", grant, r.stderr)
		}
	}
	target := "proxied=" + byName
	if s := n.reach("standard", []string{byName}, target)[target]; !strings.Contains(s.Error, "403") || !strings.Contains(s.Error, "--network-allow-private") {
		t.Errorf("N02 %s = %+v, want a refusal that names the setting", target, s)
	}
	if s := n.reach("standard", nil, target)[target]; !strings.Contains(s.Error, "KeyError") {
		t.Errorf("without a network there is a proxy: %+v", s)
	}
}

// A server of the site whose certificate only the host's authorities vouch for
// is reached by a program that knows nothing of proxies.
func TestNetworkShowsTheHostsAuthorities(t *testing.T) {
	parallel(t)
	secure, ca := siteServer(t)
	target := "https=" + secure
	isolations(t, func(t *testing.T, isolation string) {
		args := []string{"--network-allow-private", "127.0.0.0/8"}
		t.Run("shown", func(t *testing.T) {
			if s := newNode(t, append(args, "--ca-file", ca)...).reach(isolation, []string{secure}, target)[target]; s.Got != "hello" {
				t.Errorf("%s = %+v, want the server's hello", target, s)
			}
		})
		t.Run("control: not shown", func(t *testing.T) {
			if s := newNode(t, args...).reach(isolation, []string{secure}, target)[target]; !strings.Contains(s.Error, "CERTIFICATE_VERIFY_FAILED") {
				t.Errorf("%s = %+v, want a failed verification", target, s)
			}
		})
	})
}

// siteServer starts an HTTPS server on an address that NO_PROXY does not name
// and returns host:port and its authority's file.
func siteServer(t *testing.T) (addr, ca string) {
	t.Helper()
	return secureServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
}

func secureServer(t *testing.T, answer http.HandlerFunc) (addr, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ip := net.IPv4(127, 0, 0, 2)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{ip}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", ip.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(answer)
	srv.Listener.Close()
	srv.Listener, srv.TLS = l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // the control's failed hello
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return l.Addr().String(), write(t, t.TempDir(), "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// A node that is killed and started again gives a running container its way
// out back.
func TestNetworkSurvivesTheNode(t *testing.T) {
	isolations(t, func(t *testing.T, isolation string) {
		var asked atomic.Int64
		var mu sync.Mutex
		answer := "wait"
		server := greet(t, "127.0.0.1:0", func() string {
			asked.Add(1)
			mu.Lock()
			defer mu.Unlock()
			return answer
		})
		n := newNode(t, "--network-allow-private", "127.0.0.0/8")
		script := reach[:strings.Index(reach, "seen = {}")] + `
import time
host, port = os.environ["TARGETS"].split(":")
while True:
    try:
        if proxied(host, port) == "done":
            break
    except OSError:
        pass
    time.sleep(0.05)
`
		job := n.ok("job", "submit", "-d", "--isolation", isolation, "--once", "-f", write(t, t.TempDir(), "loop.py", script), "-E", "TARGETS="+server.String(), "--network", server.String())
		n.await("the job to reach the server", 30*time.Second, func() bool { return asked.Load() > 0 })
		before := n.containers()
		n.kill()
		n.start()
		mu.Lock()
		answer = "done"
		mu.Unlock()
		n.ok("job", "wait", job, "--timeout", "90s")
		if len(before) != 1 {
			t.Errorf("containers %v, want one", before)
		}
		if j := n.job(job); len(j.Attempts) != 1 || j.State != "succeeded" {
			t.Errorf("the job is %s after %d attempts, want success in the first", j.State, len(j.Attempts))
		}
	})
}
