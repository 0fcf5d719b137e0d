package jobspec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"

	"github.com/ipdc/ipdc/jobspec"
)

func TestParsePath(t *testing.T) {
	for in, want := range map[string]string{
		someCID:                                someCID,
		someCID + "/":                          someCID,
		someCID + "/a/b.png":                   someCID + "/a/b.png",
		someCID + "/a/":                        someCID + "/a",
		"/ipfs/" + someCID:                     someCID,
		"/ipfs/" + someCID + "/a b":            someCID + "/a b",
		"ipfs://" + someCID:                    someCID,
		"ipfs://" + someCID + "/a/b":           someCID + "/a/b",
		someCID + "/100%.txt":                  someCID + "/100%.txt",
		someCID + "/...":                       someCID + "/...",
		someCID + "/a?b#c":                     someCID + "/a?b#c",
		someCID + "/" + strings.Repeat("ä", 9): someCID + "/" + strings.Repeat("ä", 9),
	} {
		got, err := jobspec.ParsePath(in)
		if err != nil || got.String() != want {
			t.Errorf("ParsePath(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

// One CID has one name, however it was written: "C47".
func TestC47CanonicalCID(t *testing.T) {
	v1, err := cid.Decode(someCID)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{"upper-case": strings.ToUpper(someCID), "v0": cid.NewCidV0(v1.Hash()).String()}
	for name, base := range map[string]multibase.Encoding{
		"base36": multibase.Base36, "base58": multibase.Base58BTC, "base64url": multibase.Base64url, "base16": multibase.Base16,
	} {
		if forms[name], err = v1.StringOfBase(base); err != nil {
			t.Fatal(err)
		}
	}
	want := parse(t, minimal+"inputs: [{cid: "+someCID+"/x}]\n")
	wantCID := specCID(t, want)
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			p, err := jobspec.ParsePath("/ipfs/" + form)
			if err != nil || p.String() != someCID {
				t.Errorf("ParsePath(%q) = %v, %v, want %s", form, p, err, someCID)
			}
			spec := parse(t, minimal+"inputs: [{cid: ipfs://"+form+"/x/}]\n")
			if got := specCID(t, spec); got != wantCID {
				t.Errorf("spec CID = %s, want %s", got, wantCID)
			}
			if got := spec.WithDefaults().Inputs[0].CID; got != someCID+"/x" {
				t.Errorf("input = %s, want %s/x", got, someCID)
			}
		})
	}
}

func TestParsePathRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ in, says string }{
		"C46 ipns":              {"/ipns/k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8", "can change"},
		"C46 ipns url":          {"ipns://example.org", "can change"},
		"C46 DNSLink":           {"/ipfs/docs.ipfs.tech/x", "can change"},
		"C46 DNSLink in ipns":   {"/ipns/docs.ipfs.tech", "can change"},
		"C46 query":             {"ipfs://" + someCID + "?x=1", "query"},
		"C46 fragment":          {"ipfs://" + someCID + "/a#b", "query"},
		"C46 dot dot":           {"/ipfs/" + someCID + "/../..", "leaves its directory"},
		"C46 dot dot inside":    {someCID + "/a/../b", "leaves its directory"},
		"C46 dot":               {someCID + "/./a", "leaves its directory"},
		"C46 encoded dots":      {someCID + "/%2e%2e/x", "%-encoding"},
		"C46 encoded upper":     {someCID + "/a%2Fb", "%-encoding"},
		"empty segment":         {someCID + "//a", "empty"},
		"NUL":                   {someCID + "/a\x00b", "control character"},
		"newline":               {someCID + "/a\nb", "control character"},
		"C1":                    {someCID + "/a\u0085b", "control character"},
		"not UTF-8":             {someCID + "/\xff", "UTF-8"},
		"long name":             {someCID + "/" + strings.Repeat("x", 256), "255 bytes"},
		"deep":                  {someCID + strings.Repeat("/a", 65), "64"},
		"empty":                 {"", "CID"},
		"no CID":                {"hello", "CID"},
		"two schemes":           {"ipfs:///ipfs/" + someCID, "CID"},
		"file":                  {"/etc/passwd", "CID"},
		"space before":          {" " + someCID, "CID"},
		"https":                 {"https://ipfs.io/ipfs/" + someCID, "CID"},
		"upper-case namespace":  {"/IPFS/" + someCID, "CID"},
		"CIDv0 of wrong length": {"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbd", "CID"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := jobspec.ParsePath(tt.in)
			if !errors.Is(err, jobspec.KindSpec.Error()) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("ParsePath(%q) = %q, %v, want an E_SPEC that says %q", tt.in, p, err, tt.says)
			}
		})
	}
}

func parse(t *testing.T, text string) jobspec.Spec {
	t.Helper()
	spec, err := jobspec.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func specCID(t *testing.T, s jobspec.Spec) jobspec.CID {
	t.Helper()
	c, err := s.CID()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
