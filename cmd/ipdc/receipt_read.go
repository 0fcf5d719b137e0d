package main

import (
	"bytes"
	"encoding/json"

	"sigs.k8s.io/yaml"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// maxRecord bounds a record that is read from a stream.
const maxRecord = 256 << 20

// record is a receipt or a job's record, told apart by their fields.
type record struct {
	jobspec.Job
	Attempts  []attemptRecord   `json:"attempts"`
	Stages    []wire.StageState `json:"stages"`
	Tasks     []wire.TaskState  `json:"tasks"`
	Signature json.RawMessage   `json:"signature"`
}

// attemptRecord keeps a receipt as it was written.
type attemptRecord struct {
	jobspec.Attempt
	Receipt json.RawMessage `json:"receipt"`
}

// readReceipts finds the receipts of a text: a receipt, a job's record, a list
// of them, or the answer of ipdc receipt verify.
func readReceipts(name string, text []byte) ([]verdict, error) {
	b, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, notReceipts(name, err.Error())
	}
	list := []json.RawMessage{b}
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		if err := json.Unmarshal(b, &list); err != nil {
			return nil, notReceipts(name, err.Error())
		}
	}
	var out []verdict
	for _, raw := range list {
		var r record
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, notReceipts(name, err.Error())
		}
		found, err := receiptsOf(raw, r)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, notReceipts(name, "there is no receipt in it")
	}
	return out, nil
}

func receiptsOf(raw json.RawMessage, r record) ([]verdict, error) {
	if r.Signature != nil {
		return []verdict{decodeReceipt(raw)}, nil
	}
	if r.ID == "" {
		return nil, nil
	}
	var attempts []jobspec.Attempt
	var unread []error
	for _, at := range r.Attempts {
		if len(at.Receipt) > 0 {
			v := decodeReceipt(at.Receipt)
			at.Attempt.Receipt = &v.Receipt
			unread = append(unread, v.err)
		}
		attempts = append(attempts, at.Attempt)
	}
	list, err := jobReceipts(wire.Job{Job: r.Job, Stages: r.Stages, Tasks: r.Tasks}, attempts)
	for i := range list {
		list[i].err = unread[i]
	}
	return list, err
}

// decodeReceipt reads one receipt. A field that is not known is not signed
// either, and must not be believed.
func decodeReceipt(raw json.RawMessage) (v verdict) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v.Receipt); err != nil {
		v.err = jobspec.KindSignature.Errorf("this is no receipt as it was signed: %v", err)
	}
	return v
}

func notReceipts(name, why string) error {
	return jobspec.Failure{
		Kind: jobspec.KindSpec, Where: name, Detail: "is no receipt and no job record: " + why,
		Hint: "ipdc job describe JOB -o json writes a job's record with its receipts",
	}.Error()
}
