package shuffle_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ipdc/ipdc/internal/shuffle"
)

// childEnv names what a child of this test does, in place of tests.
const childEnv = "SHUFFLE_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := child(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// values is how many values the one key of child has, of valueSize bytes.
const (
	values    = 2_000_000 / raceFactor
	valueSize = 40
)

// child puts values of one key through a collector and a merger with the given
// memory, in the current directory.
func child(job string) error {
	memory, err := strconv.ParseInt(job, 10, 64)
	if err != nil {
		return err
	}
	c := shuffle.NewCollector(shuffle.Config{Kind: shuffle.Frames, Partitioner: shuffle.Hash(1), Memory: memory, Dir: "spill"})
	value := make([]byte, valueSize)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range values {
		for j := 8; j < valueSize; j += 8 {
			binary.LittleEndian.PutUint64(value[j:], r.Uint64())
		}
		copy(value, fmt.Sprintf("%08d", i))
		if err := c.Add([]byte("key"), value); err != nil {
			return err
		}
	}
	if err := c.Finish(func(int) (io.WriteCloser, error) { return os.Create("run") }); err != nil {
		return err
	}
	m, err := shuffle.OpenMerger([]string{"run"}, shuffle.MergeConfig{Kind: shuffle.Frames, Memory: memory, Dir: "spill"})
	if err != nil {
		return err
	}
	out, err := os.Create("out")
	if err != nil {
		return err
	}
	if err := m.WriteFrames(out); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	return errors.Join(err, out.Close(), os.WriteFile("status", status, 0o600))
}

// peak runs child and returns the most memory that was resident, in bytes.
func peak(t *testing.T, memory int64) (int64, []byte) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Dir, cmd.Env = dir, append(os.Environ(), fmt.Sprintf("%s=%d", childEnv, memory))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	// Not the rusage: it counts what the child was before it became itself.
	var kib int64
	if _, after, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
		_, err = fmt.Sscanf(string(after), "%d kB", &kib)
	}
	if err != nil || kib == 0 {
		t.Fatalf("no VmHWM in %s", status)
	}
	return kib << 10, out
}

// One key may have all values: they are streamed, never held.
func TestMemoryOfOneKey(t *testing.T) {
	small, out := peak(t, 4<<20)
	large, same := peak(t, 1<<30)
	if !bytes.Equal(out, same) {
		t.Error("the output depends on memory")
	}
	if n := int64(values * valueSize); int64(len(out)) < n || large < n {
		t.Errorf("with room for all %d bytes %d were resident: the measure does not work", n, large)
	}
	if small > 4<<20+raceFactor*(24<<20) {
		t.Errorf("with 4 MiB for pairs %d MiB were resident", small>>20)
	}
	pairs, groups := ungroup(t, out)
	if len(pairs) != values || groups != 1 {
		t.Fatalf("%d pairs in %d groups, want %d in 1", len(pairs), groups, values)
	}
	for i, p := range pairs {
		if p.Value[:8] != fmt.Sprintf("%08d", i) {
			t.Fatalf("value %d is %q: not in the order in which they came", i, p.Value[:8])
		}
	}
}

func TestManyPartitions(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var text []byte
	for range 50_000 {
		text = fmt.Appendf(text, "%d\t%d\n", r.IntN(30_000), r.IntN(1000))
	}
	dir, st := collect(t, shuffle.Config{Kind: shuffle.Lines, Partitioner: shuffle.Hash(shuffle.MaxPartitions), Memory: 1 << 20},
		func(c *shuffle.Collector) error { return c.ReadLines(bytes.NewReader(text)) })
	if st.Spills < 2 {
		t.Errorf("%d spills, want several", st.Spills)
	}
	var all bytes.Buffer
	for part := range shuffle.MaxPartitions {
		if _, err := os.Stat(partPath(dir, part)); err != nil {
			continue
		}
		m, err := shuffle.OpenMerger([]string{partPath(dir, part)}, shuffle.MergeConfig{Kind: shuffle.Lines, Partition: part})
		if err != nil {
			t.Fatal(err)
		}
		begin := all.Len()
		if err := errors.Join(m.WriteLines(&all), m.Close()); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(all.Bytes()[begin:]) {
			if p := shuffle.Hash(shuffle.MaxPartitions).Of(shuffle.LineKey(line[:len(line)-1])); p != part {
				t.Fatalf("%q is in partition %d, want %d", line, part, p)
			}
		}
	}
	if !bytes.Equal(sorted(t, all.Bytes()), sorted(t, text)) {
		t.Error("the partitions together are not what came")
	}
}

// More runs than may be open at once are merged in passes, in their order.
func TestManyRuns(t *testing.T) {
	var paths []string
	var want []pair
	dir := t.TempDir()
	const runs = 300
	for i := range runs {
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("%08d", i)))
		data := run(t, shuffle.Frames, []record{{Part: 5, Key: "k", Value: fmt.Sprint(i), Count: 1}})
		if err := os.WriteFile(paths[i], data, 0o600); err != nil {
			t.Fatal(err)
		}
		want = append(want, pair{"k", fmt.Sprint(i)})
	}
	out, st := merge(t, paths, shuffle.MergeConfig{Kind: shuffle.Frames, Partition: 5, Memory: 1 << 20})
	got, groups := ungroup(t, out)
	if groups != 1 || len(got) != runs || got[0] != want[0] || got[runs-1] != want[runs-1] || got[150] != want[150] {
		t.Errorf("%d pairs in %d groups: %.100v", len(got), groups, got)
	}
	if st.Runs != runs || st.Spills < 2 || st.Groups != 1 || st.LargestGroup != runs {
		t.Errorf("counted %+v", st)
	}
	if _, err := shuffle.OpenMerger(paths[:1], shuffle.MergeConfig{Kind: shuffle.Frames, Partition: 4}); err == nil {
		t.Error("runs of another partition are accepted")
	}
}
