package jobspec_test

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

func TestParseDatasetRef(t *testing.T) {
	for in, want := range map[string]jobspec.DatasetRef{
		"logs": {Name: "logs"}, "logs@7": {Name: "logs", Version: 7}, "dataset:l-o_g2@1": {Name: "l-o_g2", Version: 1},
		strings.Repeat("a", 63): {Name: strings.Repeat("a", 63)},
	} {
		got, err := jobspec.ParseDatasetRef(in)
		if err != nil || got != want {
			t.Errorf("ParseDatasetRef(%q) = %v, %v, want %v", in, got, err, want)
		}
		if again, err := jobspec.ParseDatasetRef(got.String()); err != nil || again != got {
			t.Errorf("ParseDatasetRef(%q) = %v, %v, want %v", got.String(), again, err, got)
		}
	}
	for _, in := range []string{
		"", "@1", "Logs", "1logs", "-logs", "lo gs", "lo/gs", "./logs", "logs.csv", "logs@", "logs@0", "logs@-1", "logs@01", "logs@+1", "logs@1@2", "logs@1/x",
		"logs@9999999999", "dataset:", "dataset:dataset:logs", "bafkqaaa", someCID, "l\u00f6gs", "logs\n", strings.Repeat("a", 64), "/ipfs/logs", "ipfs://logs",
	} {
		if got, err := jobspec.ParseDatasetRef(in); err == nil {
			t.Errorf("ParseDatasetRef(%q) = %v, want an error", in, got)
		}
	}
}

// No text is both a CID's path and a dataset.
func FuzzParseDatasetRef(f *testing.F) {
	for _, s := range []string{"logs", "logs@7", "dataset:logs", "bafkqaaa", someCID, someCID + "/a", "k51", "logs@1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := jobspec.ParseDatasetRef(s)
		if err != nil {
			return
		}
		if _, err := jobspec.ParsePath(s); err == nil {
			t.Errorf("%q is a path and a dataset", s)
		}
		if again, err := jobspec.ParseDatasetRef(ref.String()); err != nil || again != ref {
			t.Errorf("%q gives %v, whose text gives %v, %v", s, ref, again, err)
		}
		if ref.Version < 0 || strings.ContainsAny(ref.Name, "./\\ ") {
			t.Errorf("%q gives %+v", s, ref)
		}
	})
}

func TestDatasetInputs(t *testing.T) {
	base := "run: {image: python, command: [x]}\ninputs: [{"
	for in, want := range map[string]string{
		"dataset: logs":                           "",
		"dataset: logs@3, only_new: true":         "",
		"dataset: logs@3, cid: " + someCID:        "",
		"cid: " + someCID + ", since: " + someCID: "",
		"as: files":                                      "inputs[0].cid: is missing",
		"dataset: Logs":                                  "inputs[0].dataset",
		"cid: " + someCID + ", only_new: true":           "inputs[0].only_new: needs a dataset",
		"dataset: logs, since: " + someCID:               "inputs[0].since: needs a cid",
		"dataset: logs, only_new: true, as: car":         "inputs[0].as: is car, of which",
		"cid: " + someCID + ", since: x":                 "inputs[0].since",
		"dataset: logs, only_new: \"yes\"":               "inputs[0].only_new",
		"dataset: logs, cid: " + someCID + ", since: ''": "inputs[0].since",
	} {
		_, err := jobspec.Parse([]byte("version: ipdc/v1\n" + base + in + "}]\n"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("{%s}: %v, want %q", in, err, want)
		}
	}
}

// Versions of one dataset are the same program's input, other programs are not.
func TestProgram(t *testing.T) {
	program := func(lines string) jobspec.CID {
		s, err := jobspec.Parse([]byte("version: ipdc/v1\n" + lines))
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Program()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const run = "run: {image: python, command: [x]}\n"
	one := program(run + "inputs: [{dataset: logs}]")
	for _, in := range []string{"{dataset: logs@4, only_new: true}", "{dataset: logs@4, cid: " + someCID + "}", "{cid: " + someCID + "}"} {
		if got := program(run + "inputs: [" + in + "]"); got != one {
			t.Errorf("program over %s is %s, want %s", in, got, one)
		}
	}
	for _, other := range []string{"run: {image: python, command: [other]}\ninputs: [{dataset: logs}]", run + "inputs: [{dataset: logs, as: car}]", run + "keep: 1h\ninputs: [{dataset: logs}]"} {
		if got := program(other); got == one {
			t.Errorf("%s is the same program", other)
		}
	}
}
