package e2e

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBench measures what docs/benchmarks.md shows and writes that file to
// the path in IPDC_BENCH; IPDC_BENCH_ONLY names the sections to run, separated
// by commas, which then take the places of those in the file, and the others
// stay. It asserts no times.
func TestBench(t *testing.T) {
	out := os.Getenv("IPDC_BENCH")
	if out == "" {
		t.Skip("set IPDC_BENCH to the file to write; make bench does")
	}
	var text strings.Builder
	fmt.Fprintf(&text, benchHead, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	only := os.Getenv("IPDC_BENCH_ONLY")
	for _, section := range []struct {
		name string
		run  func(testing.TB, io.Writer)
	}{
		{"trivial", benchTrivial}, {"burst", benchBurst}, {"large", benchLarge}, {"files", benchFiles},
		{"million", benchMillion}, {"pictures", benchPictures}, {"idle", benchIdle},
		{"nodes", benchNodes}, {"entries", benchEntries}, {"lines", benchLines},
		{"wordcount", benchWordCount}, {"terasort", benchTeraSort},
		{"append", benchAppend}, {"attach", benchAttach}, {"gang", benchGang},
		{"host", benchHost}, {"soak", benchSoak},
	} {
		if only != "" && !slices.Contains(strings.Split(only, ","), section.name) {
			continue
		}
		t.Run(section.name, func(t *testing.T) { section.run(t, &text) })
		if only != "" {
			fmt.Fprintf(&text, "\nMeasured by itself, on %s.\n", time.Now().UTC().Format(time.DateOnly))
		}
	}
	notes, err := os.ReadFile("testdata/benchmarks-notes.md") // what the figures mean, and what is left
	if err != nil {
		t.Fatal(err)
	}
	text.Write(notes)
	if only != "" {
		old, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		whole := replaceSections(string(old), text.String())
		text.Reset()
		text.WriteString(whole)
	}
	t.Log(text.String())
	if t.Failed() {
		return // half a table is worse than the last whole one
	}
	if err := os.WriteFile(out, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replaceSections returns old with those sections of fresh that have one's
// title in their places, and new ones before the last of old.
func replaceSections(old, fresh string) string {
	const mark = "\n## "
	title := func(section string) string { line, _, _ := strings.Cut(section, "\n"); return line }
	sections, by := strings.Split(old, mark), map[string]string{}
	for _, s := range strings.Split(fresh, mark)[1:] {
		by[title(s)] = s
	}
	for i, s := range sections[1:] {
		if f, ok := by[title(s)]; ok {
			sections[i+1] = f
			delete(by, title(s))
		}
	}
	for _, s := range strings.Split(fresh, mark)[1:] {
		if _, ok := by[title(s)]; ok {
			sections = slices.Insert(sections, len(sections)-1, s)
		}
	}
	return strings.Join(sections, mark)
}

func TestReplaceSections(t *testing.T) {
	old := "# Head\n\n## One\n1\n\n## Two\n2\n\n## Notes\nold\n"
	got := replaceSections(old, "# Other\n\n## Two\nII\n\n## Three\nIII\n\n## Notes\nnew\n")
	want := "# Head\n\n## One\n1\n\n## Two\nII\n\n## Three\nIII\n\n## Notes\nnew\n"
	if got != want {
		t.Errorf("replaceSections = %q, want %q", got, want)
	}
}

const benchHead = `# Benchmarks

Made by ` + "`make bench`" + ` on %s, %d processors, %s. In each section all contestants ran in one go, taking turns round by round.
A figure is the median; spread is the 10th to the 90th percentile.
`

// race runs the contestants in turns, after warm-up rounds that do not count.
func race(warm, rounds int, contestants ...func()) [][]time.Duration {
	times := make([][]time.Duration, len(contestants))
	for round := range warm + rounds {
		for i, run := range contestants {
			start := time.Now()
			run()
			if round >= warm {
				times[i] = append(times[i], time.Since(start))
			}
		}
	}
	for _, list := range times {
		slices.Sort(list)
	}
	return times
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// show writes a duration as people compare it.
func show(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	if d >= time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// contest writes a table of times; the ratio is to the contestant base.
func contest(w io.Writer, times [][]time.Duration, base int, names ...string) {
	fmt.Fprintf(w, "| what | median | spread | ratio to %s |\n|---|---|---|---|\n", names[base])
	for i, name := range names {
		fmt.Fprintf(w, "| %s | %s | %s to %s | %.2f |\n", name, show(quantile(times[i], 0.5)),
			show(quantile(times[i], 0.1)), show(quantile(times[i], 0.9)),
			float64(quantile(times[i], 0.5))/float64(quantile(times[base], 0.5)))
	}
}

// sorted sorts each contestant's times.
func sorted(times [][]time.Duration) [][]time.Duration {
	for _, list := range times {
		slices.Sort(list)
	}
	return times
}
