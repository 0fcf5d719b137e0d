package jobspec

import (
	"strconv"
	"strings"
	"time"
)

// MaxDatasetName is the longest name of a dataset, in bytes.
const MaxDatasetName = 63

// DatasetRef names a dataset, or one of its versions.
type DatasetRef struct {
	Name    string
	Version int // from 1; 0 = the newest
}

// datasetScheme, before a name, says that it is a dataset's.
const datasetScheme = "dataset:"

// ParseDatasetRef reads NAME or NAME@VERSION, with or without "dataset:" before
// it. A name is 1 to 63 of a-z, 0-9, '-' and '_', begins with a letter, and is no
// CID: so no text is both a dataset and a [Path], and none has a dot or a slash
// as names of files do. The error is of kind E_SPEC.
func ParseDatasetRef(s string) (DatasetRef, error) {
	rest := strings.TrimPrefix(s, datasetScheme)
	name, version, has := strings.Cut(rest, "@")
	if err := CheckDatasetName(name); err != nil {
		return DatasetRef{}, err
	}
	ref := DatasetRef{Name: name}
	if !has {
		return ref, nil
	}
	n, err := strconv.ParseInt(version, 10, 31)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != version {
		return DatasetRef{}, Failure{
			Kind: KindSpec, Detail: "\"" + clip(s) + "\" is no version of a dataset: want NAME@N with N from 1",
			Hint: "`ipdc dataset show " + name + "` lists the versions",
		}.Error()
	}
	ref.Version = int(n)
	return ref, nil
}

// CheckDatasetName returns an error of kind E_SPEC unless a dataset can have the
// name.
func CheckDatasetName(name string) error {
	bad := func(why string) error {
		return Failure{
			Kind: KindSpec, Detail: "\"" + clip(name) + "\" is no name of a dataset: " + why,
			Hint: "a name is 1 to 63 of a-z, 0-9, '-' and '_' and begins with a letter",
		}.Error()
	}
	switch {
	case name == "":
		return bad("it is empty")
	case len(name) > MaxDatasetName:
		return bad("it has " + strconv.Itoa(len(name)) + " characters")
	case name[0] < 'a' || name[0] > 'z':
		return bad("it does not begin with a letter of a-z")
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
		return bad("it has another character")
	}
	if _, err := ParseCID(name); err == nil {
		return bad("it is a CID")
	}
	return nil
}

// String returns NAME or NAME@VERSION.
func (r DatasetRef) String() string {
	if r.Version == 0 {
		return r.Name
	}
	return r.Name + "@" + strconv.Itoa(r.Version)
}

// DatasetUse is what a job's input was resolved to when it was submitted.
type DatasetUse struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Owner   string `json:"owner"`        // peer id of the node whose dataset it is
	ID      string `json:"id,omitempty"` // of the dataset: one that is made anew under the name has another; "" in jobs from before this was noted
	Root    CID    `json:"root"`         // of that version
	// Program is the CID of the spec without its input: jobs of one program over
	// one dataset are runs of each other.
	Program CID `json:"program"`

	// With only_new, and when the program has been run over an earlier version:
	// of the newest such run. None when this is the first one.
	Since    int       `json:"since,omitempty"`    // its version
	Previous JobID     `json:"previous,omitempty"` // its job
	Result   CID       `json:"result,omitzero"`    // of that job
	Ended    time.Time `json:"ended,omitzero"`
	// New is how many entries of the dataset the job is over, with only_new, once
	// it is prepared.
	New *int `json:"new,omitempty"`
}

// Ref names the version.
func (u DatasetUse) Ref() DatasetRef { return DatasetRef{Name: u.Name, Version: u.Version} }

// Program returns the CID of s without what its input is, for [DatasetUse].
func (s Spec) Program() (CID, error) {
	s = s.WithDefaults()
	for i, in := range s.Inputs {
		s.Inputs[i] = Input{At: in.At, As: in.As}
	}
	return s.CID()
}

// validateSource checks what an input is of.
func (in Input) validateSource(l *problemList, path string) {
	if in.CID == "" && in.Dataset == "" {
		l.add(path+".cid", "is missing: give a CID, or the name of a dataset in dataset")
		return
	}
	if in.CID != "" {
		_, err := ParsePath(in.CID)
		l.check(path+".cid", err)
	}
	if in.Dataset != "" {
		_, err := ParseDatasetRef(in.Dataset)
		l.check(path+".dataset", err)
	}
	switch {
	case in.OnlyNew && in.Dataset == "":
		l.add(path+".only_new", "needs a dataset: what is new is told by what earlier versions of it had")
	case in.Since.Defined() && in.CID == "":
		l.add(path+".since", "needs a cid: it is set together with it when a dataset is resolved")
	case (in.OnlyNew || in.Since.Defined()) && in.As == AsCAR:
		l.add(path+".as", "is car, of which no entries are left out: use as: files")
	}
}
