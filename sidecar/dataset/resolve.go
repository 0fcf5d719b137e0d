package dataset

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// Resolve returns the version that a tenant means: of a dataset of its own, or,
// where it takes part in the domain's, of the one member that has one of the
// name. The error is of kind E_NOT_FOUND, also for a version whose content is not
// kept, and E_CONFLICT when several members have such a dataset.
func (k *Keeper) Resolve(ctx context.Context, tenant string, ref jobspec.DatasetRef) (Version, error) {
	d, v, err := k.version(ctx, tenant, ref)
	switch {
	case err == nil && v.Dropped:
		return Version{}, jobspec.Failure{
			Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("the content of %s is not kept: the dataset keeps %d versions, the newest is %d", ref, d.Keep, d.Version),
			Hint: "name a later one",
		}.Error()
	case err == nil:
		return Version{Name: ref.Name, Version: v.Version, Owner: k.self(), ID: d.ID, Root: v.Root, Head: v.Head}, nil
	case d.Name == "" && k.shares(tenant) && errors.Is(err, jobspec.KindNotFound.Error()):
		h, head, merr := k.member(ctx, ref)
		if merr != nil {
			return Version{}, merr
		}
		return versionOf(h, head), nil
	}
	return Version{}, err
}

func versionOf(h Head, head jobspec.CID) Version {
	return Version{Name: h.Name, Version: h.Version, Owner: h.Owner, ID: h.ID, Root: h.RootCID(), Head: head}
}

// After returns the versions of a dataset behind one, in order.
func (k *Keeper) After(ctx context.Context, tenant, name string, version int) ([]Version, error) {
	newest, err := k.Resolve(ctx, tenant, jobspec.DatasetRef{Name: name})
	if err != nil || newest.Version <= version {
		return nil, err
	}
	var out []Version
	if newest.Owner == k.self() {
		list, err := k.versions(ctx, tenant, name, version+1, listed)
		for _, v := range list {
			out = append(out, Version{Name: name, Version: v.Version, Owner: newest.Owner, ID: newest.ID, Root: v.Root, Head: v.Head})
		}
		return out, err
	}
	for n := version + 1; n <= newest.Version && len(out) < listed; n++ {
		v := newest
		if n < newest.Version {
			if v, err = k.Resolve(ctx, tenant, jobspec.DatasetRef{Name: name, Version: n}); err != nil {
				return out, err
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// Content is the directory of a version.
func (k *Keeper) Content(ctx context.Context, tenant string, ref jobspec.DatasetRef) (jobspec.CID, error) {
	v, err := k.Resolve(ctx, tenant, ref)
	return v.Root, err
}

// IDs returns the ids of the datasets of a name by whose they are: those of a
// tenant here, and what was seen of members'. Nobody is asked. For all tenants, "",
// it is nil: one has a dataset of the name where another one has none.
func (k *Keeper) IDs(ctx context.Context, tenant, name string) (map[identity.ID][]string, error) {
	if tenant == "" {
		return nil, nil
	}
	ids := map[identity.ID][]string{}
	err := k.cfg.Store.View(ctx, func(tx *store.Tx) error {
		mine, err := tx.Datasets(tenant)
		if err != nil {
			return err
		}
		for _, d := range mine {
			if d.Name == name {
				ids[k.self()] = append(ids[k.self()], d.ID)
			}
		}
		seen, err := tx.DatasetsSeen(name)
		for _, s := range seen {
			if h, _, err := Open(s.Sealed); err == nil { // else another ipdc wrote it, and nothing is known of it
				ids[s.Owner] = append(ids[s.Owner], h.ID)
			}
		}
		return err
	})
	return ids, err
}
