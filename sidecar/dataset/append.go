package dataset

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// maxAppend bounds the entries of one append, and maxDatasets those of a tenant.
const (
	maxAppend   = 1_000_000
	maxDatasets = 10_000
)

// Append makes a new version of a dataset of the tenant, and returns it when it
// is durable. When all that is asked for is as it is already, the newest version
// is returned as it is. The error is of kind E_CONFLICT when entries are there
// with other content, or when the newest version is another than the base.
func (k *Keeper) Append(ctx context.Context, tenant, name string, q wire.DatasetAppend) (wire.Dataset, error) {
	if err := k.mine(ctx, tenant, name); err != nil {
		return wire.Dataset{}, err
	}
	if n := len(q.Entries) + len(q.Remove); n == 0 || n > maxAppend {
		return wire.Dataset{}, jobspec.KindSpec.Errorf("%d entries are to be added and removed, want 1 to %d", n, maxAppend)
	}
	unlock, err := k.locks.Lock(ctx, prefix(tenant, name))
	if err != nil {
		return wire.Dataset{}, err
	}
	defer unlock()
	d, newest, err := k.newest(ctx, tenant, name)
	if err != nil {
		return wire.Dataset{}, err
	}
	if q.Base != 0 && q.Base != d.Version {
		return wire.Dataset{}, jobspec.Failure{
			Kind: jobspec.KindConflict, Where: "base", Detail: fmt.Sprintf("version %d of %s is the newest, not %d", d.Version, name, q.Base),
			Hint: fmt.Sprintf("look at what was added (ipdc dataset diff %s@%d %s@%d), then append to version %d", name, q.Base, name, d.Version, d.Version),
		}.Error()
	}
	changes, err := k.changes(ctx, q)
	if err != nil {
		return wire.Dataset{}, err
	}
	old, _, err := Open(newest.Sealed)
	if err != nil {
		return wire.Dataset{}, err
	}
	return k.publish(ctx, d, old, newest.Head, func(ctx context.Context, s ipfs.Session) (merge.Updated, error) {
		return update(ctx, s, newest.Root, changes, q.Replace, k.cfg.Budget)
	}, changes)
}

// change is an entry with what it is of.
type change struct {
	merge.Change
	from, to int64 // of the file; 0 and 0 = all
}

// changes resolves what is to be appended. It may fetch directories on the way.
func (k *Keeper) changes(ctx context.Context, q wire.DatasetAppend) ([]change, error) {
	seen := map[string]bool{}
	var out []change
	add := func(where string, c change) error {
		if seen[c.Name] {
			return at(where, jobspec.KindDupName.Errorf("the entry %q is named twice", c.Name))
		}
		seen[c.Name] = true
		out = append(out, c)
		return at(where, tree.CheckName(c.Name))
	}
	for i, e := range q.Entries {
		where := fmt.Sprintf("entries[%d]", i)
		c, err := k.resolvePath(ctx, e.Path)
		if err != nil {
			return nil, at(where+".path", err)
		}
		name := e.Name
		if name == "" {
			name = path.Base(e.Path)
		}
		if err := add(where, change{merge.Change{Name: name, CID: c}, e.From, e.To}); err != nil {
			return nil, err
		}
	}
	for i, name := range q.Remove {
		if err := add(fmt.Sprintf("remove[%d]", i), change{Change: merge.Change{Name: name}}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (k *Keeper) resolvePath(ctx context.Context, text string) (jobspec.CID, error) {
	p, err := jobspec.ParsePath(text)
	if err != nil || len(p.Segments) == 0 {
		return p.Root, err
	}
	return tree.Resolve(ctx, k.cfg.IPFS, p.Root, p.Segments)
}

// update makes the directory of the next version.
func update(ctx context.Context, s ipfs.Session, root jobspec.CID, changes []change, replace bool, b ipfs.Budget) (merge.Updated, error) {
	list := make([]merge.Change, len(changes))
	for i, c := range changes {
		list[i] = c.Change
		if c.from == 0 && c.to == 0 {
			continue
		}
		part, err := split.Range(ctx, s, c.CID, c.from, c.to, b)
		if err != nil {
			return merge.Updated{}, at("entries", err)
		}
		list[i].CID = part
	}
	return merge.Update(ctx, s, root, list, replace)
}

// publish pins the next version and its head, and then makes it the newest in one
// transaction. old is the head before; the zero Head is that of a new dataset.
func (k *Keeper) publish(ctx context.Context, d store.Dataset, old Head, oldCID jobspec.CID, fill func(context.Context, ipfs.Session) (merge.Updated, error), from []change) (wire.Dataset, error) {
	k.busy.RLock()
	defer k.busy.RUnlock()
	next := d
	next.Version++
	pin, hpin := rootPin(d.Tenant, d.Name, next.Version), headPin(d.Tenant, d.Name, next.Version)
	made, err := k.store(ctx, pin, d, fill, from)
	if err != nil {
		return wire.Dataset{}, err
	}
	if next.Version > 1 && made.CID == old.RootCID() {
		k.unpin(ctx, pin)
		return k.dataset(d, old, oldCID), nil
	}
	if err := failpoint.Hit("dataset.root-pinned"); err != nil {
		k.unpin(ctx, pin)
		return wire.Dataset{}, err
	}
	now := max(k.cfg.Now().UnixMilli(), old.Time)
	head := Head{
		Domain: k.cfg.Domain, Owner: k.self(), Name: d.Name, ID: d.ID, Version: next.Version, Previous: oldCID.String(), Root: made.CID.String(),
		Time: now, Created: old.Created, Entries: old.Entries + made.Added - made.Removed, Added: made.Added, Replaced: made.Replaced, Removed: made.Removed,
	}
	if head.Version == 1 {
		head.Created = now
	}
	b, c, err := Seal(head, k.cfg.Key)
	if err == nil {
		_, err = k.cfg.IPFS.Add(ctx, hpin, func(s ipfs.Session) (jobspec.CID, error) { return c, s.Put(ctx, c, b) })
	}
	var dropped []string
	if err == nil {
		err = failpoint.Hit("dataset.head-pinned")
	}
	if err == nil {
		dropped, err = k.commit(ctx, d, next, store.DatasetVersion{Version: next.Version, Head: c, Root: made.CID, Sealed: b})
	}
	if err != nil {
		if !errors.Is(err, store.ErrInDoubt) { // else the next process sees it, and sweeps
			k.unpin(ctx, pin, hpin)
		}
		return wire.Dataset{}, err
	}
	if err := failpoint.Hit("dataset.committed"); err != nil {
		return wire.Dataset{}, err
	}
	if k.moved != nil {
		k.moved(ctx, d.Tenant, d.Name)
	}
	k.unpin(ctx, dropped...)
	return k.dataset(next, head, c), nil
}

// store makes and pins a directory. Where some of what it links to is not stored
// here, that is fetched first.
func (k *Keeper) store(ctx context.Context, pin string, d store.Dataset, fill func(context.Context, ipfs.Session) (merge.Updated, error), from []change) (made merge.Updated, err error) {
	try := func() error {
		_, err := k.cfg.IPFS.Add(ctx, pin, func(s ipfs.Session) (c jobspec.CID, err error) {
			made, err = fill(ctx, s)
			return made.CID, err
		})
		return err
	}
	if err = try(); !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		return made, err
	}
	for i, c := range from {
		if !c.CID.Defined() {
			continue
		}
		tmp := fmt.Sprintf("%snew%d", prefix(d.Tenant, d.Name), i)
		defer k.unpin(ctx, tmp)
		if err := k.cfg.IPFS.Pin(ctx, tmp, c.CID); err != nil {
			return made, at(fmt.Sprintf("entries[%d].path", i), err)
		}
	}
	return made, try()
}

// commit makes next the newest version, unless there is another one since d was
// read, and returns the pins of versions that are not kept any more.
func (k *Keeper) commit(ctx context.Context, d, next store.Dataset, v store.DatasetVersion) (dropped []string, err error) {
	err = k.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Dataset(d.Tenant, d.Name)
		switch {
		case d.Version == 0 && errors.Is(err, jobspec.KindNotFound.Error()):
		case err != nil:
			return err
		case d.Version == 0:
			return taken(d.Name)
		case now.Version != d.Version || now.ID != d.ID:
			return jobspec.KindConflict.Errorf("version %d of %s was made meanwhile", now.Version, d.Name)
		}
		if err := tx.PutDataset(next); err != nil {
			return err
		}
		if err := tx.PutDatasetVersion(next.Tenant, next.Name, v); err != nil || next.Keep == 0 || next.Version <= next.Keep {
			return err
		}
		gone, err := tx.DatasetVersions(next.Tenant, next.Name, next.Version-next.Keep, 1)
		for _, g := range gone {
			g.Dropped = true
			dropped = append(dropped, rootPin(next.Tenant, next.Name, g.Version))
			err = errors.Join(err, tx.PutDatasetVersion(next.Tenant, next.Name, g))
		}
		return err
	})
	return dropped, err
}

func (k *Keeper) dataset(d store.Dataset, h Head, head jobspec.CID) wire.Dataset {
	return wire.Dataset{Name: d.Name, Owner: k.self().String(), Mine: true, Keep: d.Keep, DatasetVersion: described(h, head, true)}
}

func taken(name string) error {
	return jobspec.Failure{
		Kind: jobspec.KindConflict, Detail: fmt.Sprintf("there is a dataset %q already", name),
		Hint: "append to it, or give another name: ipdc dataset show " + name,
	}.Error()
}
