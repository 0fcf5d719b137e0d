package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// Heads are not announced: who wants to know one asks the members that live. What
// was seen is remembered, so that a name can be used while its owner is away, and
// no older head is taken for a newer one.

const typeAsk bus.Type = "dataset-head"

// askFor bounds one question to a member, and perAnswer the heads of one answer:
// each has less than 1 KiB of the 28 that a message holds.
const (
	askFor    = 5 * time.Second
	perAnswer = 20
	maxPages  = maxDatasets / perAnswer
)

// asked answers a member with heads of the shared tenant's datasets.
func (k *Keeper) asked(ctx context.Context, _ bus.Letter, q wire.DatasetAsk) (ans wire.DatasetHeads, err error) {
	if q.Name != "" {
		_, v, err := k.version(ctx, k.cfg.Shared, jobspec.DatasetRef{Name: q.Name, Version: q.Version})
		if errors.Is(err, jobspec.KindNotFound.Error()) {
			return ans, nil
		}
		ans.Heads = [][]byte{v.Sealed}
		return ans, err
	}
	err = k.cfg.Store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.Datasets(k.cfg.Shared)
		for _, d := range list {
			if err != nil || d.Name <= q.After || len(ans.Heads) == perAnswer {
				continue
			}
			var v []store.DatasetVersion
			if v, err = tx.DatasetVersions(d.Tenant, d.Name, d.Version, 1); len(v) > 0 {
				ans.Heads = append(ans.Heads, v[0].Sealed)
			}
		}
		return err
	})
	return ans, err
}

// answer is what one member said of a name.
type answer struct {
	from  identity.ID
	heads []found
	err   error // it said nothing that holds; nil with no heads: it has none
	away  bool  // it did not answer
}

type found struct {
	head Head
	cid  jobspec.CID
}

// member returns the head of the one dataset of that name that members have. What
// a member sent that does not hold counts against its own names only: the error,
// of kind E_SIGNATURE, comes where no other member has the name, or where the
// member is known to have it.
func (k *Keeper) member(ctx context.Context, ref jobspec.DatasetRef) (Head, jobspec.CID, error) {
	answers := k.ask(ctx, ref.Version == 0, func(ctx context.Context, id identity.ID) ([][]byte, error) {
		a, err := bus.Request[wire.DatasetHeads](ctx, k.cfg.Post, id, typeAsk, wire.DatasetAsk{Name: ref.Name, Version: ref.Version})
		return a.Heads, err
	})
	all, here, bad := heard(ref, answers)
	away, err := k.remembered(ctx, ref.Name, here)
	if err != nil {
		return Head{}, jobspec.CID{}, err
	}
	for _, f := range away {
		if err := bad[f.head.Owner]; err != nil {
			return Head{}, jobspec.CID{}, err
		}
		if ref.Version == 0 || f.head.Version == ref.Version {
			all = append(all, f)
		}
	}
	if len(all) == 1 {
		for id, err := range bad {
			k.cfg.Logger.Warn("a member is not heeded", "member", id.Short(), "err", err)
		}
		return all[0].head, all[0].cid, nil
	}
	for _, err := range bad {
		if len(all) == 0 {
			return Head{}, jobspec.CID{}, unheeded{err}
		}
	}
	return Head{}, jobspec.CID{}, notOne(ref, all, away, len(answers))
}

// unheeded is what is wrong with the answer of a member that is not known to have
// a dataset of the name, where nobody else has one.
type unheeded struct{ error }

func (u unheeded) Unwrap() error { return u.error }

// heard sorts answers about a name: heads that hold, who answered in order, and
// what is wrong with the others' answers.
func heard(ref jobspec.DatasetRef, answers []answer) (all []found, here map[identity.ID]bool, bad map[identity.ID]error) {
	here, bad = map[identity.ID]bool{}, map[identity.ID]error{}
	for _, a := range answers {
		err := a.err
		for _, f := range a.heads {
			if f.head.Name != ref.Name || ref.Version != 0 && f.head.Version != ref.Version {
				err = forged(a.from, "it is of "+jobspec.DatasetRef{Name: f.head.Name, Version: f.head.Version}.String())
			}
		}
		if err == nil && len(a.heads) > 1 {
			err = forged(a.from, fmt.Sprintf("there are %d of one name", len(a.heads)))
		}
		if err != nil {
			bad[a.from] = err
			continue
		}
		here[a.from] = !a.away
		all = append(all, a.heads...)
	}
	return all, here, bad
}

// notOne says why a name is not that of one dataset of a member.
func notOne(ref jobspec.DatasetRef, all, away []found, asked int) error {
	switch {
	case len(all) > 1:
		return jobspec.Failure{
			Kind: jobspec.KindConflict, Detail: fmt.Sprintf("%d members have a dataset %q: %s and %s", len(all), ref.Name, all[0].head.Owner, all[1].head.Owner),
			Hint: "name its content: -c " + all[0].head.Root + " or -c " + all[1].head.Root,
		}.Error()
	case len(away) == 1:
		return jobspec.Failure{
			Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("the owner of %s, %s, is away; only version %d of it is known here", ref.Name, away[0].head.Owner, away[0].head.Version),
			Hint: fmt.Sprintf("use %s@%d, or ask again when `ipdc peers` lists the owner", ref.Name, away[0].head.Version),
		}.Error()
	}
	return jobspec.Failure{
		Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("there is no dataset %q: not here, and at none of %d members", ref, asked),
		Hint: "`ipdc dataset list` shows the datasets; a file or folder of that name is given as ./" + ref.Name,
	}.Error()
}

// ask puts a question to all members that live, or will in a moment, at once, and
// checks the heads that they answer with.
func (k *Keeper) ask(ctx context.Context, newest bool, question func(context.Context, identity.ID) ([][]byte, error)) []answer {
	if k.cfg.Gather != nil {
		k.cfg.Gather(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	live := k.cfg.Live()
	out := make([]answer, len(live))
	var asking sync.WaitGroup
	for i, id := range live {
		asking.Go(func() {
			a := answer{from: id}
			heads, err := question(ctx, id)
			if a.away = err != nil; err != nil {
				k.cfg.Logger.Debug("ask for datasets", "member", id.Short(), "err", err)
			}
			for _, b := range heads {
				f, err := k.take(ctx, id, b, newest)
				if err != nil {
					a.err = err
					break
				}
				a.heads = append(a.heads, f)
			}
			out[i] = a
		})
	}
	asking.Wait()
	return out
}

// take checks a head that a member sent of a dataset of its own, and remembers it
// when it is newer than what was seen. One that is given for the newest must not be
// older.
func (k *Keeper) take(ctx context.Context, from identity.ID, b []byte, newest bool) (found, error) {
	h, c, err := Open(b)
	switch {
	case err != nil:
		return found{}, forged(from, jobspec.AsFailure(err).Detail)
	case h.Owner != from:
		return found{}, forged(from, "it is signed by "+h.Owner.String())
	}
	f := found{h, c}
	return f, k.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		seen, err := tx.DatasetsSeen(h.Name)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(seen, func(s store.DatasetSeen) bool { return s.Owner == from })
		if i >= 0 {
			newer, err := after(seen[i].Sealed, f, newest)
			if err != nil || !newer {
				return err
			}
		}
		return tx.PutDatasetSeen(store.DatasetSeen{Owner: from, Name: h.Name, Domain: k.cfg.Domain, Sealed: b})
	})
}

// after says whether f is newer than what was seen of its dataset. A head that
// cannot have been signed beside the one that was seen is an error.
func after(seen []byte, f found, newest bool) (bool, error) {
	old, c, err := Open(seen)
	if err != nil {
		return false, err
	}
	h := f.head
	switch {
	case h.ID != old.ID && h.Created <= old.Time:
		return false, forged(h.Owner, fmt.Sprintf("a dataset of that name that was made later has been seen, with version %d", old.Version))
	case h.ID != old.ID:
		return true, nil
	case newest && h.Version < old.Version:
		return false, forged(h.Owner, fmt.Sprintf("version %d is given for the newest, and version %d has been seen", h.Version, old.Version))
	case h.Version == old.Version && f.cid != c:
		return false, forged(h.Owner, fmt.Sprintf("another head of version %d has been seen", h.Version))
	case h.Version == old.Version+1 && h.Previous != c.String():
		return false, forged(h.Owner, fmt.Sprintf("version %d does not follow the version %d that has been seen", h.Version, old.Version))
	}
	return h.Version > old.Version, nil
}

func forged(from identity.ID, why string) error {
	return jobspec.Failure{
		Kind: jobspec.KindSignature, Where: "member " + from.String(), Detail: "the head of a dataset that it sent is refused: " + why,
		Hint: "ask who runs that member; `ipdc domain revoke` removes one that lies",
	}.Error()
}

// remembered are the heads of a name, "" for all, that were seen of members that
// cannot be asked now.
func (k *Keeper) remembered(ctx context.Context, name string, here map[identity.ID]bool) (out []found, err error) {
	var seen []store.DatasetSeen
	err = k.cfg.Store.View(ctx, func(tx *store.Tx) error {
		seen, err = tx.DatasetsSeen(name)
		return err
	})
	for _, s := range seen {
		h, c, oerr := Open(s.Sealed)
		if err = errors.Join(err, oerr); oerr == nil && !here[s.Owner] && s.Domain == k.cfg.Domain {
			out = append(out, found{h, c})
		}
	}
	return out, err
}
