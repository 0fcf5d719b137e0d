package images_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/ipdc/ipdc/images"
)

func TestStock(t *testing.T) {
	var names []string
	tag := regexp.MustCompile(`^ipdc/[a-z]+:[0-9a-f]{12}$`)
	for _, r := range images.Stock() {
		names = append(names, r.Name)
		if !tag.MatchString(r.Tag()) {
			t.Errorf("Tag() of %s = %q, want ipdc/<name>:<12 hex digits>", r.Name, r.Tag())
		}
		if r.Suite == "" || r.Epoch == 0 || len(r.Packages) == 0 || r.Env["PATH"] == "" {
			t.Errorf("recipe of %s lacks a suite, an epoch, packages or PATH: %+v", r.Name, r)
		}
		if got, ok := images.StockRecipe(r.Name); !ok || got.Tag() != r.Tag() {
			t.Errorf("StockRecipe(%q) = %q, %v, want %q", r.Name, got.Tag(), ok, r.Tag())
		}
	}
	for _, want := range []string{"crawler", "python", "shell"} {
		if !slices.Contains(names, want) {
			t.Errorf("Stock() = %v, want %q among them", names, want)
		}
	}
	if _, ok := images.StockRecipe("docker"); ok {
		t.Error(`StockRecipe("docker") finds an image, want none: its folder is the adapter`)
	}
}
