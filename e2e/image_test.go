package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	stock "github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/wire"
)

// A program finds localhost by name, and python's pip runs from its wheel, on
// the read-only root of a job without a network.
func TestStockImagesInsideAJob(t *testing.T) {
	n := newNode(t)
	script := write(t, t.TempDir(), "look.py", `import glob, socket, subprocess, sys
wheel = glob.glob("/usr/share/python-wheels/pip-*.whl")[0]
print(sorted({a[4][0] for a in socket.getaddrinfo("localhost", 80)}))
print(subprocess.run([sys.executable, wheel + "/pip", "--version"], capture_output=True, text=True).stdout)
`)
	n.ok("job", "submit", "-f", script, "--once", "-c", logsDir(t), "--cache", "off")
	got := n.ok("job", "logs", "@last")
	if !strings.HasPrefix(got, "['127.0.0.1', '::1']\npip 2") {
		t.Errorf("localhost and pip in the python image = %q", got)
	}
	n.ok("job", "submit", "-e", "getent hosts localhost", "--image", "shell", "--once", "-c", logsDir(t), "--cache", "off")
	if got := n.ok("job", "logs", "@last"); !strings.Contains(got, "localhost") {
		t.Errorf("getent hosts localhost in the shell image = %q", got)
	}
}

// An image that exists nowhere but here is pushed, removed from the engine,
// and a job runs in it by its CID; it is loaded once.
func TestImageByCID(t *testing.T) {
	n := newNode(t)
	const tag = "ipdc-e2e/tool:1"
	buildImage(t, tag, map[string]string{"word": "from the image\n"}, "COPY word /word")
	cid := n.ok("image", "push", tag)
	if !oneCID.MatchString(cid + "\n") {
		t.Fatalf("image push printed %q, want a CID and nothing else", cid)
	}
	id := inspect(t, tag, "{{.Id}}")
	if list := n.ok("image", "list", "-q"); !strings.Contains(list, cid) {
		t.Errorf("image list after the push: %s", list)
	}
	var list []wire.Image
	n.decode(&list, "image", "list", "-o", "json")
	if !slices.ContainsFunc(list, func(i wire.Image) bool { return i.ID.String() == id && strings.Contains(i.Ref, cid) && i.Size > 0 }) {
		t.Errorf("image list -o json after the push: %+v", list)
	}
	docker(t, "tag", tag, "ipdc-e2e/again:2")
	if again := n.ok("image", "push", "ipdc-e2e/again:2"); again != cid {
		t.Errorf("push of the same image under another name = %s, want %s", again, cid)
	}
	n.ok("image", "rm", tag, "ipdc-e2e/again:2")
	if out, err := exec.Command("docker", "image", "inspect", id).CombinedOutput(); err == nil {
		t.Fatalf("the image is still there: %s", out)
	}
	t.Cleanup(func() { n.ok("image", "rm", cid) })
	for range 2 {
		result := n.ok("job", "submit", "--image", cid, "--once", "-e", "cp /word /outputs/", "-c", logsDir(t), "--cache", "off")
		if got := n.ok("get", result+"/word", "-"); got != "from the image" {
			t.Errorf("the job in %s gives %q", cid, got)
		}
		if got := n.job("@last").Attempts[0].Receipt.Image.String(); got != id {
			t.Errorf("the receipt says image %s, want %s", got, id)
		}
	}
	if loads := strings.Count(n.log.String(), "image loaded"); loads != 1 {
		t.Errorf("the image was loaded %d times", loads)
	}
	r := n.fails(125, "job", "submit", "--image", n.ok("add", "-q", write(t, t.TempDir(), "no-image", "text")), "--once", "-e", "true", "-c", logsDir(t))
	if !strings.Contains(r.stderr, "E_IMAGE_REF") {
		t.Errorf("a CID that is no image: %s", r.stderr)
	}
}

// An image that the engine does not have is pulled from a configured registry
// only, and from there once.
func TestImageFromRegistry(t *testing.T) {
	var asked atomic.Int32
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		reg.ServeHTTP(w, r)
	}))
	defer srv.Close()
	host := srv.Listener.Addr().String()
	ref := host + "/tool:1"
	n := newNode(t, "--registries", host)
	buildImage(t, ref, map[string]string{"word": "from the registry\n"}, "COPY word /word")
	docker(t, "push", ref)
	docker(t, "rmi", ref)
	for range 2 {
		result := n.ok("job", "submit", "--image", ref, "--once", "-e", "cp /word /outputs/", "-c", logsDir(t), "--cache", "off")
		if got := n.ok("get", result+"/word", "-"); got != "from the registry" {
			t.Errorf("the job in %s gives %q", ref, got)
		}
	}
	before := asked.Load()
	n.ok("image", "pull", ref)
	if asked.Load() != before {
		t.Error("an image that is there is asked for again")
	}
	n.ok("image", "rm", ref)
	if r := n.fails(125, "image", "pull", host+"/tool:2"); !strings.Contains(r.stderr, "E_IMAGE_REF") || !strings.Contains(r.stderr, "hint:") {
		t.Errorf("pull of a missing tag: %s", r.stderr)
	}
	if r := n.fails(5, "image", "pull", "registry.example/tool:1"); !strings.Contains(r.stderr, "registries") {
		t.Errorf("pull from a registry that is not configured: %s", r.stderr)
	}
	if r := n.fails(125, "job", "submit", "--image", host+"/tool:2", "--once", "-e", "true", "-c", logsDir(t)); !strings.Contains(r.stderr, "E_IMAGE_REF") {
		t.Errorf("a job in a missing image: %s", r.stderr)
	}
}

// buildImage makes an image on top of the stock image shell by the engine's
// own build.
func buildImage(t *testing.T, tag string, files map[string]string, lines ...string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, dir, name, text)
	}
	r, _ := stock.StockRecipe("shell")
	write(t, dir, "Dockerfile", "FROM "+r.Tag()+"\n"+strings.Join(lines, "\n")+"\n")
	cmd := exec.Command("docker", "build", "-q", "-t", tag, dir)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", tag).Run() }) // gone when all went well
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func inspect(t *testing.T, ref, format string) string {
	t.Helper()
	return docker(t, "image", "inspect", "-f", format, ref)
}
