package testenv

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// s3Version is the one that scripts/versitygw.sh builds.
const s3Version = "v1.8.0"

// S3Server is a real S3 server on the loopback interface that keeps objects as
// files.
type S3Server struct {
	Endpoint             string // http://127.0.0.1:PORT
	AccessKey, SecretKey string
	Bucket               string // empty at the start
	dir                  string
}

// S3 starts versitygw with one bucket: the part "s3". It ends with the test.
func S3(t testing.TB) *S3Server {
	t.Helper()
	program, err := s3Program()
	Need(t, "s3", err)
	s := &S3Server{AccessKey: "test-access", SecretKey: "test-secret-key", Bucket: "results", dir: t.TempDir()}
	meta := t.TempDir()
	if err := os.Mkdir(s.Path(""), 0o755); err != nil {
		t.Fatal(err)
	}
	addr := Port(t)
	s.Endpoint = "http://" + addr
	said := &Log{}
	// What it knows of objects lies in files, as not each file system has
	// extended attributes.
	cmd := exec.Command(program, "--port", addr, "--quiet", "posix", "--sidecar", meta, s.dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing that matters
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("versitygw:\n%s", said)
		}
	})
	client := http.Client{Timeout: time.Second}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		if resp, err := client.Get(s.Endpoint); err == nil {
			_ = resp.Body.Close()
			return s
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("versitygw does not answer:\n%s", said)
		}
	}
}

// Path returns where the object of a key lies.
func (s *S3Server) Path(key string) string { return filepath.Join(s.dir, s.Bucket, key) }

// s3Program finds the program; where it is required it is built.
func s3Program() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	program := filepath.Join(root, "build", "tools", "versitygw-"+s3Version)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if !Required("s3") {
		return "", fmt.Errorf("not built; build it with: scripts/versitygw.sh")
	}
	if out, err := exec.Command(filepath.Join(root, "scripts", "versitygw.sh")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("scripts/versitygw.sh: %w\n%s", err, out)
	}
	return program, nil
}
