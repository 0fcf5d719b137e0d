package docker

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
)

var imageID = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// target is a reference in the only form that is sent to the engine. Short
// names are never sent, because it would also take them for the start of an id.
type target struct {
	lookup string          // what the engine is asked for
	shown  string          // the same in the short form that people know
	digest string          // that the reference insists on; empty: none
	stock  string          // the stock name; empty: not a stock image
	cid    bool            // an archive's CID
	named  reference.Named // what a registry knows; nil: none does
}

// tag is the name under which the image is kept once it was pulled. An engine
// keeps no digests of images that it did not pull itself.
func (t target) tag() string {
	if t.digest != "" {
		return "ipdc/digest:" + strings.TrimPrefix(t.digest, "sha256:")
	}
	return t.lookup
}

func parse(ref string) (target, error) {
	if r, ok := images.StockRecipe(ref); ok {
		return target{lookup: r.Tag(), shown: r.Tag(), stock: r.Name}, nil
	}
	if c, err := jobspec.ParseCID(ref); err == nil {
		tag := images.CIDTag(c)
		if len(tag) > 128 {
			return target{}, malformed(ref[:40]+"...", "no image archive has such a CID")
		}
		return target{lookup: tag, shown: c.String(), cid: true}, nil
	}
	if imageID.MatchString(ref) {
		return target{lookup: ref, shown: ref, digest: ref}, nil
	}
	if strings.HasPrefix(ref, "sha256:") {
		return target{}, malformed(ref, "an image id is sha256: and all of its 64 digits")
	}
	if len(ref) > 512 {
		return target{}, malformed(ref[:40]+"...", fmt.Sprintf("it is %d bytes long, at most 512 are allowed", len(ref)))
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return target{}, malformed(ref, err.Error())
	}
	digested, ok := named.(reference.Digested)
	if !ok {
		named = reference.TagNameOnly(named)
		return target{lookup: named.String(), shown: reference.FamiliarString(named), named: named}, nil
	}
	if digested.Digest().Algorithm() != "sha256" {
		return target{}, malformed(ref, "only sha256 digests are known")
	}
	canonical, err := reference.WithDigest(reference.TrimNamed(named), digested.Digest())
	if err != nil {
		return target{}, malformed(ref, err.Error())
	}
	return target{
		lookup: canonical.String(),
		shown:  reference.FamiliarString(canonical),
		digest: digested.Digest().String(),
		named:  canonical,
	}, nil
}

func malformed(ref, why string) error {
	return jobspec.Failure{
		Kind:   jobspec.KindImageRef,
		Detail: fmt.Sprintf("%q is not an image reference: %s", ref, why),
		Hint:   "give a stock name (" + stockNames() + "), a reference like debian:12, an id of sha256: and 64 digits, or a CID of ipdc image push",
	}.Error()
}

func (t target) absent() error {
	f := jobspec.Failure{
		Kind:   jobspec.KindImageRef,
		Detail: fmt.Sprintf("no local image %s", t.shown),
		Hint:   "fetch it by ipdc image pull or docker pull. The stock images are " + stockNames(),
	}
	if t.cid {
		f.Detail = fmt.Sprintf("no image was loaded from the archive %s", t.shown)
		f.Hint = "ipdc image pull " + t.shown
	}
	if t.stock != "" {
		f.Detail = fmt.Sprintf("the stock image %s of this version, %s, is not built yet", t.stock, t.shown)
		f.Hint = fmt.Sprintf("run `sudo ipdc image build %s`", t.stock)
	}
	return f.Error()
}

func stockNames() string {
	var names []string
	for _, r := range images.Stock() {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}
