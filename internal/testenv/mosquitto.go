package testenv

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// MosquittoBroker is Debian's mosquitto on a free port of the loopback
// interface.
type MosquittoBroker struct {
	Addr string // host:port

	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	errs *Log
}

// Mosquitto starts one and ends it with the test: the part "mosquitto". users
// are names and passwords; without any, everybody may connect. acl is the text
// of an ACL file, cert and key are PEM for TLS; "" for none.
func Mosquitto(t testing.TB, users map[string]string, acl, cert, key string) *MosquittoBroker {
	t.Helper()
	_, err := mosquittoProgram()
	Need(t, "mosquitto", err)
	m := &MosquittoBroker{Addr: Port(t), t: t, dir: t.TempDir(), errs: &Log{}}
	_, port, _ := net.SplitHostPort(m.Addr)
	config := "listener " + port + " 127.0.0.1\nuser root\npersistence false\nmax_packet_size 34000\n"
	if len(users) == 0 {
		config += "allow_anonymous true\n"
	} else {
		m.write("passwords", "")
		for name, password := range users {
			m.AddUser(name, password)
		}
		config += "allow_anonymous false\nuse_username_as_clientid true\npassword_file " + m.path("passwords") + "\n"
	}
	if acl != "" {
		config += "acl_file " + m.write("acl", acl) + "\n"
	}
	if cert != "" {
		config += "certfile " + m.write("cert.pem", cert) + "\nkeyfile " + m.write("key.pem", key) + "\n"
	}
	m.write("mosquitto.conf", config)
	m.Start()
	t.Cleanup(m.Stop)
	return m
}

// mosquittoProgram finds the program; where it is required it is installed.
func mosquittoProgram() (string, error) {
	for _, p := range []string{"/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if !Required("mosquitto") {
		return "", fmt.Errorf("not installed; install it with: scripts/mosquitto.sh")
	}
	out, err := exec.Command(filepath.Join(root, "scripts", "mosquitto.sh")).Output()
	if err != nil {
		return "", fmt.Errorf("scripts/mosquitto.sh: %w", err)
	}
	return string(bytes.TrimSpace(out)), nil
}

func (m *MosquittoBroker) path(name string) string { return filepath.Join(m.dir, name) }

func (m *MosquittoBroker) write(name, text string) string {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

// AddUser adds one; a broker that runs knows him a moment later.
func (m *MosquittoBroker) AddUser(name, password string) {
	m.t.Helper()
	if out, err := exec.CommandContext(m.t.Context(), "mosquitto_passwd", "-b", m.path("passwords"), name, password).CombinedOutput(); err != nil {
		m.t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(syscall.SIGHUP)
	}
}

// Start starts it, after Stop a second time on the same port.
func (m *MosquittoBroker) Start() {
	m.t.Helper()
	program, err := mosquittoProgram()
	if err != nil {
		m.t.Fatal(err)
	}
	m.cmd = exec.CommandContext(context.WithoutCancel(m.t.Context()), program, "-c", m.path("mosquitto.conf"))
	m.cmd.Stdout, m.cmd.Stderr = m.errs, m.errs
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", m.Addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("mosquitto does not answer at %s: %v\n%s", m.Addr, err, m.errs)
		}
	}
}

// Stop ends it; when it does not run, nothing is done.
func (m *MosquittoBroker) Stop() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(10*time.Second, func() { _ = m.cmd.Process.Kill() })
	defer late.Stop()
	_ = m.cmd.Wait()
	m.cmd = nil
}
