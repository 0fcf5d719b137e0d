package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"sigs.k8s.io/yaml"
)

// format is the value of -o.
type format string

// The formats. Text is meant for people and may change; the others are stable.
const (
	formatText format = ""
	formatJSON format = "json"
	formatYAML format = "yaml"
	formatWide format = "wide"
	formatName format = "name"
)

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

// Set accepts the names of the formats.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case "text":
		*f = formatText
	case formatJSON, formatYAML, formatWide, formatName:
		*f = v
	default:
		return fmt.Errorf("must be text, json, yaml, wide or name")
	}
	return nil
}

// print writes v as JSON or YAML when that was asked for, name with -q or
// -o name, else what text writes.
func (a *app) print(v any, name string, text func(io.Writer) error) error {
	switch a.format {
	case formatJSON:
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case formatYAML:
		b, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = a.out.Write(b)
		return err
	case formatName:
		_, err := fmt.Fprintln(a.out, name)
		return err
	}
	return text(a.out)
}

// nothing is the text of what people need not be told.
func nothing(io.Writer) error { return nil }

// table writes rows of cells in columns. Cells are made visible first, so that
// a name cannot fake a row.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = visible(row[i])
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// visible shows control, bidi and other invisible runes as escapes, so that
// text from a job, a name or a log cannot steer the terminal. Newlines stay.
func visible(s string) string {
	safe := func(r rune) bool { return r == '\n' || r == ' ' || unicode.IsGraphic(r) && !unicode.In(r, unicode.Zs) }
	if strings.IndexFunc(s, func(r rune) bool { return !safe(r) || r == unicode.ReplacementChar }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if safe(r) {
			b.WriteRune(r)
		} else {
			q := fmt.Sprintf("%+q", r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// ago is how long t is past, in one or two units.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if d := time.Until(t); d > 0 {
		return "in " + span(d)
	}
	return span(time.Since(t)) + " ago"
}

// span is d in one or two units.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// count is n with its noun: "1 file", "2 files".
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// size is n bytes for people, in decimal units as ls and ipfs print them.
func size(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1000, 0
	for v >= 999.95 && u < len(units)-1 {
		v, u = v/1000, u+1
	}
	return fmt.Sprintf("%.1f %cB", v, units[u])
}
