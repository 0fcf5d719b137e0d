package store

import (
	"encoding/json"
	"fmt"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Dataset is a name of a tenant of this node for versions of a directory.
type Dataset struct {
	Tenant  string `json:"-"`
	Name    string `json:"-"`
	ID      string `json:"id"`             // 16 random bytes in hex: another dataset of the same name has another
	Keep    int    `json:"keep,omitempty"` // versions whose content is kept; 0 = all
	Version int    `json:"version"`        // the newest
}

// DatasetVersion is one version of a dataset.
type DatasetVersion struct {
	Version int         `json:"-"`
	Head    jobspec.CID `json:"head"`   // of Sealed
	Root    jobspec.CID `json:"root"`   // as Sealed says
	Sealed  []byte      `json:"sealed"` // the signed head
	Dropped bool        `json:"dropped,omitempty"`
}

// DatasetSeen is the newest head of another member's dataset.
type DatasetSeen struct {
	Owner  identity.ID `json:"-"`
	Name   string      `json:"-"`
	Domain string      `json:"domain"` // in which it was seen
	Sealed []byte      `json:"sealed"`
}

// PutDataset inserts or replaces a dataset.
func (tx *Tx) PutDataset(d Dataset) error {
	record, err := encode(d)
	if err == nil {
		err = tx.put(datasetTable, d.Tenant, d.Name, record)
	}
	if err != nil {
		return fmt.Errorf("put dataset %s: %w", d.Name, err)
	}
	return nil
}

// Dataset returns a dataset, or an error of kind E_NOT_FOUND.
func (tx *Tx) Dataset(tenant, name string) (Dataset, error) {
	list, err := tx.datasets("tenant = ? AND name = ?", tenant, name)
	if err != nil {
		return Dataset{}, err
	}
	if len(list) == 0 {
		return Dataset{}, jobspec.Failure{
			Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("there is no dataset %q", name), Hint: "`ipdc dataset list` shows the datasets; `ipdc dataset create " + name + "` makes it",
		}.Error()
	}
	return list[0], nil
}

// Datasets returns those of a tenant, "" for all tenants, by name.
func (tx *Tx) Datasets(tenant string) ([]Dataset, error) {
	return tx.datasets("? = '' OR tenant = ?", tenant, tenant)
}

func (tx *Tx) datasets(where string, args ...any) (list []Dataset, err error) {
	var tenant, name string
	var record []byte
	err = tx.each([]any{&tenant, &name, &record}, func() error {
		d := Dataset{Tenant: tenant, Name: name}
		err := json.Unmarshal(record, &d)
		list = append(list, d)
		return err
	}, "SELECT tenant, name, record FROM datasets WHERE "+where+" ORDER BY name, tenant", args...)
	if err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	return list, nil
}

// DeleteDataset removes a dataset with its versions; without one it does nothing.
func (tx *Tx) DeleteDataset(tenant, name string) error {
	if err := tx.exec("DELETE FROM datasets WHERE tenant = ? AND name = ?", tenant, name); err != nil {
		return fmt.Errorf("delete dataset %s: %w", name, err)
	}
	return nil
}

// PutDatasetVersion inserts or replaces a version of a dataset that is there.
func (tx *Tx) PutDatasetVersion(tenant, name string, v DatasetVersion) error {
	record, err := encode(v)
	if err == nil {
		err = tx.put(datasetVersionTable, tenant, name, int64(v.Version), record)
	}
	if err != nil {
		return fmt.Errorf("put version %d of dataset %s: %w", v.Version, name, err)
	}
	return nil
}

// DatasetVersions returns at most limit versions from one on, oldest first.
func (tx *Tx) DatasetVersions(tenant, name string, from, limit int) (list []DatasetVersion, err error) {
	var version int
	var record []byte
	err = tx.each([]any{&version, &record}, func() error {
		v := DatasetVersion{Version: version}
		err := json.Unmarshal(record, &v)
		list = append(list, v)
		return err
	}, "SELECT version, record FROM dataset_versions WHERE tenant = ? AND name = ? AND version >= ? ORDER BY version LIMIT ?", tenant, name, from, limit)
	if err != nil {
		return nil, fmt.Errorf("list versions of dataset %s: %w", name, err)
	}
	return list, nil
}

// EachDatasetVersion calls f with each version that there is of any dataset, and
// whether its content was dropped. It reads no heads.
func (tx *Tx) EachDatasetVersion(f func(tenant, name string, version int, dropped bool)) error {
	var tenant, name string
	var version int
	var dropped bool
	err := tx.each([]any{&tenant, &name, &version, &dropped}, func() error {
		f(tenant, name, version, dropped)
		return nil
	}, "SELECT tenant, name, version, ifnull(record ->> '$.dropped', 0) FROM dataset_versions")
	if err != nil {
		return fmt.Errorf("list versions of datasets: %w", err)
	}
	return nil
}

// PutDatasetSeen stores the newest head of another member's dataset.
func (tx *Tx) PutDatasetSeen(s DatasetSeen) error {
	record, err := encode(s)
	if err == nil {
		err = tx.put(datasetSeenTable, s.Owner.String(), s.Name, record)
	}
	if err != nil {
		return fmt.Errorf("put head of dataset %s: %w", s.Name, err)
	}
	return nil
}

// DatasetsSeen returns what was seen of other members' datasets of a name, ""
// for all names.
func (tx *Tx) DatasetsSeen(name string) (list []DatasetSeen, err error) {
	var owner, of string
	var record []byte
	err = tx.each([]any{&owner, &of, &record}, func() error {
		s := DatasetSeen{Owner: identity.ID(owner), Name: of}
		err := json.Unmarshal(record, &s)
		list = append(list, s)
		return err
	}, "SELECT owner, name, record FROM dataset_seen WHERE ? = '' OR name = ? ORDER BY name, owner", name, name)
	if err != nil {
		return nil, fmt.Errorf("list datasets of members: %w", err)
	}
	return list, nil
}

// DatasetRuns returns the jobs of a tenant that ran a program over versions of a
// dataset, the newest first. "" is for all programs, and then of any dataset.
func (tx *Tx) DatasetRuns(tenant string, program jobspec.CID, states ...jobspec.JobState) ([]jobspec.Job, error) {
	var jobs []jobspec.Job
	var record []byte
	err := tx.each([]any{&record}, func() error {
		var j jobspec.Job
		if err := json.Unmarshal(record, &j); err != nil {
			return err
		}
		for _, s := range states {
			if j.State == s {
				jobs = append(jobs, j)
				return nil
			}
		}
		if len(states) == 0 {
			jobs = append(jobs, j)
		}
		return nil
	}, "SELECT record FROM jobs WHERE tenant = ? AND record ->> '$.dataset.program' IS NOT NULL AND (? = '' OR record ->> '$.dataset.program' = ?) ORDER BY seq DESC",
		tenant, program.String(), program.String())
	if err != nil {
		return nil, fmt.Errorf("list runs over datasets: %w", err)
	}
	return jobs, nil
}
