package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// The eleven holes of the program of 2018, tried by a member that has secret
// and certificate: strangers get no byte, see TestP01.

// someCID is what a message of 2018 had before the shell's part.
const someCID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPBdG"

// Z01: a CID field with a shell's text in it.
func TestZ01ShellInAField(t *testing.T) {
	n := newMember(t)
	r := newTraitor(t, n)
	canary := filepath.Join(t.TempDir(), "canary")
	evil := someCID + ";touch " + canary + ";$(touch " + canary + ")`touch " + canary + "`"
	if err := exec.Command("sh", "-c", "echo "+evil).Run(); err != nil || os.Remove(canary) != nil {
		t.Fatalf("control: a shell that reads the field does not run it: %v", err)
	}
	type download struct {
		Attempt string           `json:"attempt"`
		Token   string           `json:"token"`
		Lease   jobspec.Duration `json:"lease"`
		Work    string           `json:"work"`
	}
	r.isDropped("body", "assign", download{"x", "y", jobspec.Duration(1), evil})
	r.isDropped("body", "holds", map[string]string{"list": evil})
	r.isDropped("type", "download", map[string]string{"cid": evil})
	good, err := json.Marshal(r.work("exit 0"))
	if err != nil {
		t.Fatal(err)
	}
	for field, text := range map[string]string{
		"run.image":      strings.Replace(string(good), `"image":"shell"`, fmt.Sprintf(`"image":%q`, evil), 1),
		"inputs":         strings.Replace(string(good), `"run":{`, fmt.Sprintf(`"inputs":[{"cid":%q}],"run":{`, evil), 1),
		"run.code":       strings.Replace(string(good), `"run":{`, fmt.Sprintf(`"run":{"code":%q,`, evil), 1),
		"plan.image":     strings.Replace(string(good), `"plan":{`, fmt.Sprintf(`"plan":{"dependencies":%q,`, evil), 1),
		"archive":        strings.Replace(string(good), `"plan":{`, fmt.Sprintf(`"archive":%q,"plan":{`, evil), 1),
		"no JSON at all": evil,
	} {
		if text == string(good) {
			t.Fatalf("%s: the text is as it was: %s", field, text)
		}
		if err := r.assigns([]byte(text)); err == nil || !strings.HasPrefix(string(jobspec.AsFailure(err).Kind), "E_") {
			t.Errorf("an order with a shell's text as %s: %v, want a refusal", field, err)
		}
	}
	if err := r.assigns(good); err != nil {
		t.Fatalf("control: %v", err)
	}
	if out := r.ended(); out.Failure != nil || out.Receipt == nil {
		t.Errorf("control: %+v", out.Failure)
	}
	if _, err := os.Stat(canary); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the text was run: %v", err)
	}
}

// directory stores a directory with one file under a name of the test's
// choice, which no honest program makes.
func (r *traitor) directory(name string, file jobspec.CID) jobspec.CID {
	r.t.Helper()
	field := func(n byte, b []byte) []byte {
		return append(binary.AppendUvarint([]byte{n<<3 | 2}, uint64(len(b))), b...)
	}
	hash := file.Cid().Bytes()
	link := append(field(1, hash), field(2, []byte(name))...)
	block := append(field(2, append(link, 3<<3, 1)), field(1, []byte{8, 1})...) // dag-pb, UnixFS: a directory
	mh, err := multihash.Sum(block, multihash.SHA2_256, -1)
	if err != nil {
		r.t.Fatal(err)
	}
	c := jobspec.WrapCID(cid.NewCidV1(cid.DagProtobuf, mh))
	_, err = r.ipfs.Add(r.t.Context(), "code", func(s ipfs.Session) (jobspec.CID, error) { return c, s.Put(r.t.Context(), c, block) })
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// Z02: a path in a field that names a file.
func TestZ02PathInAField(t *testing.T) {
	n := newMember(t)
	r := newTraitor(t, n)
	const name = "z02-was-here"
	data := r.store([]byte("x"))
	for path, refused := range map[string]bool{"../../../" + name: true, "/tmp/" + name: true, "..": true, name: false} {
		code := r.directory(path, data)
		if err := r.orders(r.work("cat /code/"+name, func(s *jobspec.Spec) { s.Run.Code = code })); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out := r.ended()
		if got := out.Failure != nil && out.Failure.Kind == jobspec.KindName; got != refused {
			t.Errorf("code with a file %q: E_NAME %v, want %v: %+v", path, got, refused, out.Failure)
		}
	}
	for path, refused := range map[string]bool{"../../../" + name: true, "/tmp/" + name: true, "a/../../" + name: true, name: false} {
		if err := r.orders(r.itemWork(path, data)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out := r.ended()
		if got := out.Failure != nil && out.Failure.Kind == jobspec.KindName; got != refused || !refused && out.Receipt == nil {
			t.Errorf("an item at %q: E_NAME %v, want %v: %+v", path, got, refused, out.Failure)
		}
	}
	for _, dir := range []string{n.dir, os.TempDir(), "/root", "/"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("something was written to %s: %v", dir, err)
		}
	}
}

// itemWork is an order for one item, at a path of the test's choice.
func (r *traitor) itemWork(path string, file jobspec.CID) wire.Work {
	r.t.Helper()
	parent := r.directory(path, file)
	w := r.work("cat")
	w.Spec.Run.Per, w.Spec.Inputs = jobspec.PerItem, []jobspec.Input{{CID: parent.String()}}
	w.Spec = w.Spec.WithDefaults()
	var err error
	if w.Plan.SpecCID, err = w.Spec.CID(); err != nil {
		r.t.Fatal(err)
	}
	w.Plan.Input = parent
	items := []jobspec.Item{{Path: path, CID: file, Size: 1}}
	if w.Plan, err = w.Plan.WithShards(w.Spec, []jobspec.Shard{{CID: parent, Bytes: 1, Items: items}}); err != nil {
		r.t.Fatal(err)
	}
	return w
}

// Z03: what a member sends is run in a job's sandbox, never as the node.
func TestZ03CodeRunsInTheSandboxOnly(t *testing.T) {
	n := newMember(t)
	r := newTraitor(t, n)
	canary := filepath.Join(t.TempDir(), "canary")
	script := `out=${OUT:-/outputs}; id -u >$out/uid; cat ` + filepath.Join(n.dir, "token") + ` >$out/token; touch ` + canary + `; true`
	here := t.TempDir()
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "OUT="+here)
	if err := cmd.Run(); err != nil || len(files(t, here)["token"]) < 10 || os.Remove(canary) != nil {
		t.Fatalf("control: run as the node it does no harm: %v, %v", err, files(t, here))
	}
	for _, typ := range []bus.Type{"exec", "import", "do-map", "do-reduce", "python"} {
		r.isDropped("type", typ, map[string]string{"code": script})
	}
	if err := r.orders(r.work(script)); err != nil {
		t.Fatal(err)
	}
	out := r.ended()
	if uid, err := strconv.Atoi(strings.TrimSpace(r.file(out, "uid"))); err != nil || uid < 1_800_000_000 {
		t.Errorf("it ran as user %d, %v; want one of a job's own", uid, err)
	}
	if got := r.file(out, "token"); got != "" {
		t.Error("it read the node's token")
	}
	if _, err := os.Stat(canary); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it wrote to the host: %v", err)
	}
}

// Z04: each task has a container and a copy of the code of its own; a job of
// the same file name sees nothing of one before.
func TestZ04SameNameOtherCode(t *testing.T) {
	n := newMember(t)
	dir := t.TempDir()
	program := func(result string) string {
		return `import os, sys
def process(path):
    seen = []
    for place in ("/tmp", "/dev/shm", "/code", "/deps", "/inputs", "/outputs"):
        sys.path.insert(0, place)
        try:
            if os.path.exists(place + "/planted.py"): seen.append(place)
            with open(place + "/planted.py", "w") as f: f.write("x = 1")
        except OSError: pass
    try:
        import planted
        control = "found"
    except ImportError:
        control = "lost"
    os.remove("/outputs/planted.py")
    with open("/outputs/" + os.path.basename(str(path)), "w") as f:
        f.write("` + result + ` " + ",".join(seen) + " " + control)
`
	}
	in := n.ok("add", "-q", write(t, dir, "in.txt", "x"))
	run := func(result string) string {
		out := n.ok("job", "submit", "-f", write(t, filepath.Join(dir, result), "Map.py", program(result)), "-c", in)
		dest := filepath.Join(t.TempDir(), "out")
		n.ok("get", out, dest)
		for _, text := range files(t, dest) {
			return text
		}
		return ""
	}
	for _, result := range []string{"first", "second"} { // "found": what a job plants it finds itself, which is the control
		if got := run(result); got != result+"  found" {
			t.Errorf("Map.py of the %s job says %q, want its own result and nothing of others", result, got)
		}
	}
}

// Z05 with a real node; store has all fields: see TestZ05 there.
func TestZ05QuotesInFields(t *testing.T) {
	n := newMember(t)
	const evil = `x'); DROP TABLE jobs; --`
	in := n.ok("add", "-q", write(t, t.TempDir(), "in", "x"))
	id := n.ok("job", "submit", "-d", "-e", "cat", "-c", in, "--label", "k="+evil)
	n.ok("job", "wait", id)
	if got := n.ok("job", "list", "-q", "--label", "k="+evil); got != id {
		t.Errorf("list by the label gives %q, want %s", got, id)
	}
	for _, ref := range []string{"' OR '1'='1", "%", "_", `x" OR 1=1 --`} {
		n.fails(4, "job", "describe", ref)
	}
	if got := n.ok("job", "list", "-q"); got != id { // the control: the table is there, with its row
		t.Errorf("list gives %q, want %s", got, id)
	}
}

// Z07, Z08, Z11: what the program of 2018 did for whoever asked is no message
// here, whatever it names; nor does one about an unknown job do anything.
func TestZ07Z08Z11MessagesOf2018(t *testing.T) {
	n := newMember(t)
	r := newTraitor(t, n)
	in := n.ok("add", "-q", write(t, t.TempDir(), "in", "x"))
	id := n.ok("job", "submit", "-d", "-e", "sleep 1; cat", "-c", in)
	for _, typ := range []bus.Type{"add-peer", "portal-connect", "clean-up", "stop-chain", "close-enode", "done-done", "stop", "rm"} {
		r.isDropped("type", typ, map[string]string{"job": id, "enode": "enode://" + strings.Repeat("ab", 64) + "@127.0.0.1:30303"})
	}
	for i := range 10 {
		attempt := fmt.Sprintf("%s-%d-1", id, i)
		if err := r.post.Send(t.Context(), r.id(), "revoke", wire.Revoke{Attempt: attempt, Token: "DoneDone"}); err != nil {
			t.Fatal(err)
		}
		_, err := bus.Request[wire.Reported](t.Context(), r.post, r.id(), "report", wire.Report{Attempt: attempt, Token: "DoneDone", Outcome: r.store([]byte("{}"))})
		if jobspec.AsFailure(err).Kind != jobspec.KindLeaseLost {
			t.Fatalf("report of an attempt of nobody's: %v, want E_LEASE_LOST", err)
		}
	}
	n.ok("job", "wait", id)
	if got := n.job(id).Result.String(); got == "" || len(n.job(id).Attempts) != 1 {
		t.Errorf("the job has result %q in %d attempts", got, len(n.job(id).Attempts))
	}
}

// Z09: the broker inside ipdc is on loopback, or wants TLS; and nobody comes in
// without a certificate.
func TestZ09BrokerForEverybody(t *testing.T) {
	n := newMember(t, "--broker-listen", "127.0.0.1:0")
	open, addr := regexp.MustCompile(`broker is open[^\n]*addr=(127\.0\.0\.1:\d+)`), []string(nil)
	n.await("the node to say where its broker is", patience, func() bool {
		addr = open.FindStringSubmatch(n.log.String())
		return addr != nil
	})
	s := n.state()
	member := mqtt.Config{Broker: "mqtt://" + addr[1], Self: s.key.ID(), Domain: bus.DomainID(s.domain), Timeout: patience}
	member.Password = mqtt.SignedPassword(member.Domain, s.key, func() []byte { return s.proof })
	anybody := member
	anybody.Password, anybody.Insecure = nil, true
	if c, err := mqtt.Dial(t.Context(), anybody); !errors.Is(err, mqtt.ErrCredential) {
		t.Errorf("without a password: %v, %v; want ErrCredential", c, err)
	}
	c, err := mqtt.Dial(t.Context(), member)
	if err != nil {
		t.Fatalf("control: %v", err)
	}
	if err := c.Announce(t.Context(), bus.TopicOffers, []byte("x")); err != nil {
		t.Errorf("control: %v", err)
	}
	_ = c.Close()
	n.stop()
	for _, everywhere := range []string{"0.0.0.0:0", "[::]:0"} {
		r := n.ipdc("node", "start", "--p2p-listen", loopback, "--broker-listen", everywhere)
		if r.code == 0 || !strings.Contains(r.stderr, "TLS") || !strings.Contains(r.stderr, "broker-cert") {
			t.Errorf("a broker at %s: exit code %d, %s; want a refusal that names broker-cert", everywhere, r.code, r.stderr)
		}
	}
}

// Z11: a file may be called anything that a protocol once meant something by.
func TestZ11AnyNameIsAKey(t *testing.T) {
	n := newMember(t)
	dir := t.TempDir()
	for _, name := range []string{"DoneDone", "DoMap", "null", "-rf", "a b", `"quoted"`, "true"} {
		write(t, dir, name, "content of "+name)
	}
	root := n.ok("add", "-q", dir)
	if got := n.ok("job", "submit", "-e", "cat", "-c", root); got != root {
		t.Errorf("the copy is %s, want %s", got, root)
	}
}
