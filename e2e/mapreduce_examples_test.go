package e2e

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mr runs a map-reduce of one of the examples' Python files over input and
// returns the result CID.
func (n *node) mr(file string, k int, input string, args ...string) string {
	n.t.Helper()
	words := []string{"mr", "run", "-q", "-k", strconv.Itoa(k), "--map", mapreduce + file, "--reduce", mapreduce + file, "-c", input}
	return n.ok(append(words, args...)...)
}

// Each example gives what awk, sort and others give.
func TestMapReduceExamples(t *testing.T) {
	parallel(t)
	n := newNode(t)
	for name, example := range map[string]func(*testing.T, *node){
		"inverted index": invertedIndex, "near": near, "columns": columns, "k-means": kMeans, "terasort": teraSort,
	} {
		t.Run(name, func(t *testing.T) { example(t, n) })
	}
}

func invertedIndex(t *testing.T, n *node) {
	const dir = "../docs/adr"
	got := n.parts(n.mr("invertedindex/invertedindex.py", 3, dir, "--combine"), 3)
	want := shell(t, `cd "$1"; find . -type f | cut -c 3- | while read -r f; do
		tr -cs A-Za-z '\n' < "$f" | tr A-Z a-z | awk -v f="$f" '$0 != "" { print $0 "\t" f }'
	done | sort -u | awk -F '\t' '$1 != w { if (NR > 1) print l; w = $1; l = $0; next } { l = l " " $2 } END { print l }'`, dir)
	if text := merged(t, got); text != want {
		t.Errorf("the index has %d lines, awk's %d, or they differ", strings.Count(text, "\n"), strings.Count(want, "\n"))
	}
}

func near(t *testing.T, n *node) {
	got := n.parts(n.mr("near/near.py", 2, "../examples/logs"), 2)
	want := shell(t, `cat "$1"/*/*.csv | awk -F , '
		function rad(x) { return x * atan2(0, -1) / 180 }
		function asin(x) { return atan2(x, sqrt(1 - x * x)) }
		{
			h = sin((rad(38.7223) - rad($3)) / 2) ^ 2 + cos(rad($3)) * cos(rad(38.7223)) * sin((rad(-9.1393) - rad($4)) / 2) ^ 2
			if (2 * 6371.0088 * asin(sqrt(h)) <= 10) print
		}'`, "../examples/logs")
	if inOrder(got...) != inOrder(want) || strings.Count(want, "\n") < 10 {
		t.Errorf("near:\n%swant\n%s", inOrder(got...), inOrder(want))
	}
}

func columns(t *testing.T, n *node) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(5, 6))
	for f := range 3 {
		var b strings.Builder
		b.WriteString("time,temperature,note\n")
		for i := range 6000 {
			fmt.Fprintf(&b, "%d,%.3f,%s\n", 1_700_000_000+i, 20+9*r.NormFloat64(), []string{"ok", "", "-7.25"}[i%3])
		}
		write(t, dir, fmt.Sprintf("%d.csv", f), b.String())
	}
	// Pieces of 64 KiB: most tasks see no first line.
	got := n.parts(n.mr("columns/columns.py", 2, dir, "--combine", "--split-size", "64KiB"), 2)
	want := shell(t, `tail -q -n +2 "$1"/*.csv | awk -F , '
		{ for (i = 1; i <= 3; i++) if ($i ~ /^-?[0-9.]+$/) {
			x = $i - (i == 1 ? 1700000000 : 0); n[i]++; s[i] += x; q[i] += x * x
			if (n[i] == 1 || x < lo[i]) lo[i] = x; if (n[i] == 1 || x > hi[i]) hi[i] = x } }
		END { split("time temperature note", name, " "); for (i = 1; i <= 3; i++) { m = s[i] / n[i]; o = (i == 1 ? 1700000000 : 0)
			printf "%s\t%d\t%.9f\t%.9f\t%.9f\t%.9f\n", name[i], n[i], o + m, o + lo[i], o + hi[i], sqrt(q[i] / n[i] - m * m) } }'`, dir)
	compareNumbers(t, inOrder(got...), inOrder(want), 1e-5)
}

// compareNumbers compares lines of fields by tab or comma, numbers to within eps.
func compareNumbers(t *testing.T, got, want string, eps float64) {
	t.Helper()
	fields := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("\t,\n", r) })
	}
	g, w := fields(got), fields(want)
	same := len(g) == len(w) && len(w) > 0
	for i := range min(len(g), len(w)) {
		x, err := strconv.ParseFloat(g[i], 64)
		y, err2 := strconv.ParseFloat(w[i], 64)
		same = same && (g[i] == w[i] || err == nil && err2 == nil && math.Abs(x-y) <= eps)
	}
	if !same {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func kMeans(t *testing.T, n *node) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(7, 8))
	var b strings.Builder
	for i := range 3000 {
		c := [][2]float64{{0, 0}, {10, 3}, {-4, 9}}[i%3]
		fmt.Fprintf(&b, "%.4f,%.4f\n", c[0]+r.NormFloat64(), c[1]+r.NormFloat64())
	}
	points := write(t, dir, "points/p.csv", b.String())
	centres := write(t, dir, "centres.csv", "a,1,1\nb,8,8\nc,-3,2\nfar,1000,1000\n")
	got := shell(t, `export IPDC_PATH="$1" PATH="$2:$PATH" HOME="$1/home"; exec ../examples/mapreduce/kmeans/kmeans.sh "$3" "$4" 0.01`,
		n.dir, n.bin, centres, filepath.Dir(points))
	want := shell(t, `awk -F , '
		FNR == NR { k++; name[k] = $1; x[k] = $2; y[k] = $3; next }
		{ m++; px[m] = $1; py[m] = $2 }
		END {
			do {
				far = 0
				for (c = 1; c <= k; c++) n[c] = sx[c] = sy[c] = 0
				for (i = 1; i <= m; i++) {
					best = 1
					for (c = 2; c <= k; c++) if ((px[i]-x[c])^2 + (py[i]-y[c])^2 < (px[i]-x[best])^2 + (py[i]-y[best])^2) best = c
					n[best]++; sx[best] += px[i]; sy[best] += py[i]
				}
				for (c = 1; c <= k; c++) if (n[c]) {
					d = sqrt((sx[c]/n[c]-x[c])^2 + (sy[c]/n[c]-y[c])^2); if (d > far) far = d
					x[c] = sx[c] / n[c]; y[c] = sy[c] / n[c]
				}
			} while (far >= 0.01)
			for (c = 1; c <= k; c++) printf "%s,%.9f,%.9f\n", name[c], x[c], y[c]
		}' "$1" "$2"`, centres, points)
	compareNumbers(t, got, want, 1e-6)
}

// teraSort generates, sorts and validates by jobs, and compares with a sort here.
func teraSort(t *testing.T, n *node) {
	const records, k = 40_000, 4
	dir := t.TempDir()
	for i := range 2 {
		write(t, dir, strconv.Itoa(i), fmt.Sprintf("%d %d\n", i*records/2, records/2))
	}
	input := n.ok("job", "submit", "-q", "-f", mapreduce+"terasort/generate.py", "-c", dir)
	before := n.summary(input)
	if !strings.HasPrefix(before, fmt.Sprintf("records %d\n", records)) || strings.Contains(before, "unordered 0\n") {
		t.Fatalf("validate.py of what was generated: %s", before)
	}
	result := n.mr("terasort/terasort.py", k, input, "--partition", "range", "--records", "bytes:100", "--split-size", "2MiB")
	parts := n.parts(result, k)
	after := n.summary(result)
	sums, _, _ := strings.Cut(before, "unordered")
	if after != sums+"unordered 0\nduplicates 0\n" {
		t.Errorf("validate.py says of the result\n%sof the input\n%s", after, before)
	}

	dest := filepath.Join(t.TempDir(), "in")
	n.ok("get", input, dest)
	var all [][]byte
	for _, text := range files(t, dest) {
		all = slices.AppendSeq(all, slices.Chunk([]byte(text), 100))
	}
	slices.SortFunc(all, bytes.Compare)
	if got := strings.Join(parts, ""); got != string(bytes.Join(all, nil)) {
		t.Error("the parts behind each other are not the sorted records")
	}
	for j, p := range parts {
		if share := float64(len(p)) / (records * 100 / k); share < 0.5 || share > 2 {
			t.Errorf("part %d has %.2f of its share", j, share)
		}
	}
}

// summary is what validate.py says of records.
func (n *node) summary(cid string) string {
	n.t.Helper()
	return n.ok("get", n.ok("job", "submit", "-q", "-f", mapreduce+"terasort/validate.py", "-c", cid)+"/summary", "-") + "\n"
}
