package images

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"sync"

	"sigs.k8s.io/yaml"
)

// Recipe says how a stock image is made. It stands in
// images/<name>/recipe.yaml and is compiled into the program, so that a
// program and its images always agree: a changed recipe is another tag.
type Recipe struct {
	Name     string   `json:"-"`        // "shell"; the name of its folder
	Suite    string   `json:"suite"`    // Debian's code name
	Epoch    int64    `json:"epoch"`    // seconds since 1970; the time of every file and of the image
	Packages []string `json:"packages"` // besides the essential ones
	// Wheels is a file beside the recipe that names Python wheels, a line
	// "name==version --hash=sha256:..." each, for the root's own python3. They
	// are installed before Run, by the pip of the package python3-pip-whl; what
	// they depend on has to be named too. "" = none.
	Wheels string            `json:"wheels"`
	Run    []string          `json:"run"` // shell commands inside the new root, after the packages
	Env    map[string]string `json:"env"` // of the image's config
	// OnDemand leaves the image out where all stock images are asked for: it
	// is large, and of use to one command.
	OnDemand bool `json:"on_demand"`

	hash   string
	wheels []byte
}

// builder is part of each recipe's hash. Raise it when images/stock makes
// other bytes from the same recipe.
const builder = 1

//go:embed */recipe.yaml */wheels.txt
var recipes embed.FS

var stock = sync.OnceValue(func() []Recipe {
	files, err := recipes.ReadDir(".")
	if err != nil {
		panic(err)
	}
	all := make([]Recipe, 0, len(files))
	for _, f := range files {
		r, err := readRecipe(f.Name())
		if err != nil {
			// The files are compiled in, and a test reads each of them.
			panic(err)
		}
		all = append(all, r)
	}
	return all
})

// Stock returns the recipes of the stock images, by name in byte order.
func Stock() []Recipe { return slices.Clone(stock()) }

// StockRecipe returns the recipe of the stock image name.
func StockRecipe(name string) (Recipe, bool) {
	i := slices.IndexFunc(stock(), func(r Recipe) bool { return r.Name == name })
	if i < 0 {
		return Recipe{}, false
	}
	return stock()[i], true
}

// Hash returns 12 hex digits that change whenever the recipe does.
func (r Recipe) Hash() string { return r.hash }

// Tag returns the one reference under which this program looks for the image:
// "ipdc/<name>:<hash>".
func (r Recipe) Tag() string { return "ipdc/" + r.Name + ":" + r.hash }

// WheelList returns what the file that Wheels names says.
func (r Recipe) WheelList() []byte { return r.wheels }

func readRecipe(name string) (Recipe, error) {
	b, err := recipes.ReadFile(path.Join(name, "recipe.yaml"))
	if err != nil {
		return Recipe{}, err
	}
	r := Recipe{Name: name}
	if err := yaml.UnmarshalStrict(b, &r); err != nil {
		return Recipe{}, fmt.Errorf("read recipe of image %s: %w", name, err)
	}
	if r.Wheels != "" {
		if r.wheels, err = recipes.ReadFile(path.Join(name, r.Wheels)); err != nil {
			return Recipe{}, err
		}
	}
	sum := sha256.Sum256(slices.Concat([]byte(strconv.Itoa(builder)+"\n"), b, r.wheels))
	r.hash = hex.EncodeToString(sum[:6])
	return r, nil
}
