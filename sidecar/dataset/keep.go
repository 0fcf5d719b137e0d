package dataset

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// listed bounds how many versions are shown of one dataset, and differences how
// many entries are compared.
const (
	listed      = 100
	differences = 1_000_000
)

// Create makes a dataset with its first version: empty, or of the entries of a
// directory. The error is of kind E_CONFLICT when the tenant, or a member, has one
// of the name.
func (k *Keeper) Create(ctx context.Context, tenant string, q wire.DatasetWish) (wire.Dataset, error) {
	if err := jobspec.CheckDatasetName(q.Name); err != nil {
		return wire.Dataset{}, at("name", err)
	}
	if q.Keep < 0 {
		return wire.Dataset{}, at("keep", jobspec.KindSpec.Errorf("is %d, want a number of versions, or 0 for all", q.Keep))
	}
	unlock, err := k.locks.Lock(ctx, prefix(tenant, q.Name))
	if err != nil {
		return wire.Dataset{}, err
	}
	defer unlock()
	switch v, err := k.Resolve(ctx, tenant, jobspec.DatasetRef{Name: q.Name}); {
	case err == nil && v.Owner != k.self():
		return wire.Dataset{}, jobspec.Failure{
			Kind: jobspec.KindConflict, Where: "name", Detail: fmt.Sprintf("%s is a dataset of the member %s", q.Name, v.Owner), Hint: "give another name",
		}.Error()
	case err == nil:
		return wire.Dataset{}, taken(q.Name)
	case errors.As(err, new(unheeded)): // who lies takes no names
	case !errors.Is(err, jobspec.KindNotFound.Error()):
		return wire.Dataset{}, err
	}
	if err := k.room(ctx, tenant); err != nil {
		return wire.Dataset{}, err
	}
	var entries []change
	if q.From != "" {
		if entries, err = k.entriesOf(ctx, q.From); err != nil {
			return wire.Dataset{}, at("from", err)
		}
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	d := store.Dataset{Tenant: tenant, Name: q.Name, ID: hex.EncodeToString(id), Keep: q.Keep}
	return k.publish(ctx, d, Head{}, jobspec.CID{}, func(ctx context.Context, s ipfs.Session) (merge.Updated, error) {
		empty, err := merge.Files(ctx, s, nil)
		if err != nil {
			return merge.Updated{}, err
		}
		return update(ctx, s, empty, entries, false, k.cfg.Budget)
	}, entries)
}

func (k *Keeper) room(ctx context.Context, tenant string) error {
	return k.cfg.Store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.Datasets(tenant)
		if err == nil && len(list) >= maxDatasets {
			err = jobspec.KindLimit.Errorf("%s has %d datasets, at most %d are kept", tenant, len(list), maxDatasets)
		}
		return err
	})
}

// entriesOf are those of a directory, of whatever form, at the top.
func (k *Keeper) entriesOf(ctx context.Context, from string) ([]change, error) {
	root, err := k.resolvePath(ctx, from)
	if err != nil {
		return nil, err
	}
	links, err := tree.Links(ctx, k.cfg.IPFS, root, ipfs.Budget{Entries: maxAppend, Bytes: 1 << 62})
	out := make([]change, len(links))
	for i, l := range links {
		out[i].Name, out[i].CID = l.Name, l.CID
	}
	return out, err
}

// newest returns a dataset of the tenant with its newest version.
func (k *Keeper) newest(ctx context.Context, tenant, name string) (d store.Dataset, v store.DatasetVersion, err error) {
	return k.version(ctx, tenant, jobspec.DatasetRef{Name: name})
}

// version returns a dataset of the tenant with one of its versions.
func (k *Keeper) version(ctx context.Context, tenant string, ref jobspec.DatasetRef) (d store.Dataset, v store.DatasetVersion, err error) {
	err = k.cfg.Store.View(ctx, func(tx *store.Tx) error {
		if d, err = tx.Dataset(tenant, ref.Name); err != nil {
			return err
		}
		want := ref.Version
		if want == 0 {
			want = d.Version
		}
		list, err := tx.DatasetVersions(tenant, ref.Name, want, 1)
		if err != nil {
			return err
		}
		if len(list) == 0 || list[0].Version != want {
			return noVersion(ref, d.Version)
		}
		v = list[0]
		return nil
	})
	return d, v, err
}

func noVersion(ref jobspec.DatasetRef, newest int) error {
	return jobspec.Failure{
		Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("there is no version %s: the newest is %d", ref, newest),
		Hint: "`ipdc dataset show " + ref.Name + "` lists the versions",
	}.Error()
}

// mine refuses what only the owner of a dataset may do.
func (k *Keeper) mine(ctx context.Context, tenant, name string) error {
	err := k.cfg.Store.View(ctx, func(tx *store.Tx) error { _, err := tx.Dataset(tenant, name); return err })
	if !errors.Is(err, jobspec.KindNotFound.Error()) {
		return err
	}
	v, rerr := k.Resolve(ctx, tenant, jobspec.DatasetRef{Name: name})
	if rerr != nil {
		return err
	}
	return jobspec.Failure{
		Kind: jobspec.KindPolicy, Detail: fmt.Sprintf("%s is a dataset of the member %s, which alone signs its versions", name, v.Owner),
		Hint: "do it at that node, or make a dataset of your own from it: ipdc dataset create NAME --from " + v.Root.String(),
	}.Error()
}

// Remove forgets a dataset with all its versions.
func (k *Keeper) Remove(ctx context.Context, tenant, name string) error {
	if err := k.mine(ctx, tenant, name); err != nil {
		return err
	}
	unlock, err := k.locks.Lock(ctx, prefix(tenant, name))
	if err != nil {
		return err
	}
	defer unlock()
	if err := k.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteDataset(tenant, name) }); err != nil {
		return err
	}
	pins, err := k.cfg.IPFS.Pins(ctx, prefix(tenant, name))
	for _, p := range pins {
		k.unpin(ctx, p.Name)
	}
	return err
}

// Show describes a dataset, or one version of it.
func (k *Keeper) Show(ctx context.Context, tenant string, ref jobspec.DatasetRef) (wire.Dataset, error) {
	d, v, err := k.version(ctx, tenant, ref)
	if errors.Is(err, jobspec.KindNotFound.Error()) && d.Name == "" && k.shares(tenant) {
		h, head, err := k.member(ctx, ref)
		return remote(h, head), err
	}
	if err != nil {
		return wire.Dataset{}, err
	}
	h, _, err := Open(v.Sealed)
	if err != nil {
		return wire.Dataset{}, err
	}
	out := k.dataset(d, h, v.Head)
	out.Kept = !v.Dropped
	out.Versions, err = k.versions(ctx, tenant, ref.Name, max(1, d.Version-listed+1), listed)
	for i, j := 0, len(out.Versions)-1; i < j; i, j = i+1, j-1 {
		out.Versions[i], out.Versions[j] = out.Versions[j], out.Versions[i]
	}
	return out, err
}

func remote(h Head, head jobspec.CID) wire.Dataset {
	return wire.Dataset{Name: h.Name, Owner: h.Owner.String(), DatasetVersion: described(h, head, false)}
}

// versions are those of a dataset here, oldest first.
func (k *Keeper) versions(ctx context.Context, tenant, name string, from, limit int) (list []wire.DatasetVersion, err error) {
	var rows []store.DatasetVersion
	err = k.cfg.Store.View(ctx, func(tx *store.Tx) error {
		rows, err = tx.DatasetVersions(tenant, name, from, limit)
		return err
	})
	for _, v := range rows {
		h, _, oerr := Open(v.Sealed)
		err = errors.Join(err, oerr)
		list = append(list, described(h, v.Head, !v.Dropped))
	}
	return list, err
}

// List describes the datasets that a tenant can name, by name.
func (k *Keeper) List(ctx context.Context, tenant string) ([]wire.Dataset, error) {
	var own []store.Dataset
	err := k.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		own, err = tx.Datasets(tenant)
		return err
	})
	out := []wire.Dataset{}
	for _, d := range own {
		if err != nil {
			break
		}
		var s wire.Dataset
		if s, err = k.Show(ctx, tenant, jobspec.DatasetRef{Name: d.Name}); err == nil {
			s.Versions = nil
			out = append(out, s)
		}
	}
	if err == nil && k.shares(tenant) {
		out, err = k.withMembers(ctx, out)
	}
	return out, err
}

// Diff returns the entries that two versions have not alike.
func (k *Keeper) Diff(ctx context.Context, tenant, name string, from, to int) (wire.DatasetDiff, error) {
	after, err := k.Resolve(ctx, tenant, jobspec.DatasetRef{Name: name, Version: to})
	if err != nil {
		return wire.DatasetDiff{}, err
	}
	if from == 0 {
		from = after.Version - 1
	}
	out := wire.DatasetDiff{Name: name, From: from, To: after.Version, Changes: []wire.DatasetChange{}}
	if from < 1 {
		return out, jobspec.KindSpec.Errorf("%s@%d has no version before it", name, after.Version)
	}
	before, err := k.Resolve(ctx, tenant, jobspec.DatasetRef{Name: name, Version: from})
	if err != nil {
		return out, err
	}
	list, err := tree.Diff(ctx, k.cfg.IPFS, before.Root, after.Root, ipfs.Budget{Entries: differences, Bytes: 1 << 62})
	for _, d := range list {
		out.Changes = append(out.Changes, wire.DatasetChange{Name: d.Name, Old: d.Old.CID, New: d.New.CID})
	}
	return out, err
}
