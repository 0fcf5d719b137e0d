package e2e

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/internal/testenv"
)

// scenario drives real nodes so that one of them comes to each of its places.
type scenario struct {
	name  string
	steps []string // all their places are this one's
	run   func(t *testing.T, places []string)
}

// matrix has each place of failpoint.All in one scenario.
func matrix() []scenario {
	return []scenario{
		{"kept", []string{"entered", "settled", "taken-over"}, crashKept}, // takes longest
		{"job", []string{
			"accepted", "queued", "leased", "staged", "image", "created", "running", "exited", "packaged", "recorded", "cleaned", "volume", "pin",
		}, crashJob},
		{"result", []string{"publishing", "published", "succeeded"}, crashResult},
		{"handed", []string{"assigned", "taken-on", "reported", "taken-in"}, crashHanded},
		{"end", []string{"failed", "stopping", "stopped", "abandoned", "removed"}, crashEnd},
		{"instant", []string{"instant-due", "instant-started", "instant-ended", "instant-missed"}, crashInstant},
		{"gang", []string{"gang-held", "gang-assigned", "gang-started"}, crashGang},
		{"stages", []string{"stage"}, crashStages},
		{"birth", []string{"store.migrate", "domain.domain.id", "domain.membership", "domain.enter", "domain.sweep"}, crashBirth},
		{"delivery", []string{"delivery"}, crashDelivery},
		{"schedule", []string{"schedule"}, crashSchedule},
		{"dataset", []string{"dataset"}, crashDataset},
		{"invitation", []string{"domain.invites"}, crashInvitation},
	}
}

// step is what a place belongs to: "domain.invites" of "domain.invites.rename".
func step(place string) string {
	if i := strings.LastIndex(place, "."); i >= 0 && place != "domain.sweep" {
		return place[:i]
	}
	return place
}

// A place that is registered and not crashed at would be a hole in the matrix.
func TestEachPlaceIsInOneScenario(t *testing.T) {
	by := map[string][]string{}
	for _, s := range matrix() {
		for _, step := range s.steps {
			by[step] = append(by[step], s.name)
		}
	}
	places := failpoint.All()
	for _, place := range places {
		if in := by[step(place)]; len(in) != 1 {
			t.Errorf("the place %s is in %d scenarios, %q, want one", place, len(in), in)
		}
	}
	for of, in := range by {
		if !slices.ContainsFunc(places, func(p string) bool { return step(p) == of }) {
			t.Errorf("%q has the step %s, of which there is no place", in, of)
		}
	}
}

// F01: kill -9 before and after each durable step, and a start after it: what
// was acknowledged is there, has one end and one result, no second container
// ran beside the first, and nothing is left.
//
// IPDC_SEED names the random choices of a run: with -short which cells are run,
// with IPDC_PROVE_LONG=1, where each node is killed once more while it
// recovers, when that is.
func TestF01CrashMatrix(t *testing.T) {
	testenv.Docker(t)
	t.Logf("IPDC_SEED=%d", seed())
	kills.Store(0)
	again.reset()
	cells := 0
	before, engine := takeInventory(t, "no node"), watchEngine(t)
	t.Run("cells", func(t *testing.T) {
		for _, s := range matrix() {
			places := s.places()
			if testing.Short() {
				places = sample(places)
			}
			if len(places) == 0 {
				continue
			}
			t.Run(s.name, func(t *testing.T) {
				cells += len(places)
				t.Parallel()
				s.run(t, places)
			})
		}
	})
	starts, wrong := engine.end()
	if len(wrong) > 0 {
		t.Errorf("of %d containers that were started: %q", starts, wrong)
	}
	all, early := again.all.Load(), again.early.Load()
	if long() && early == 0 {
		t.Errorf("control: of %d second kills none fell into a start", all)
	}
	fmt.Printf("campaign: %d cells, %d kills, %d of them during a recovery, %d containers, seed %d\n", cells, kills.Load(), early, starts, seed()) // internal/prove keeps it
	sameInventory(t, before, func() []string { return takeInventory(t, "no node") })
}

// kills counts deaths of nodes, at a place or not.
var kills atomic.Int64

// again counts second kills, of a node that was started after the first one.
var again againKills

type againKills struct{ all, early atomic.Int64 }

func (k *againKills) reset() { k.all.Store(0); k.early.Store(0) }

// count takes one: early says that it fell before the node was ready.
func (k *againKills) count(early bool) {
	k.all.Add(1)
	if early {
		k.early.Add(1)
	}
}

// places returns the scenario's places in the order of its steps.
func (s scenario) places() (all []string) {
	for _, of := range s.steps {
		for _, place := range failpoint.All() {
			if step(place) == of {
				all = append(all, place)
			}
		}
	}
	return all
}

// sample chooses one of eight cells.
func sample(places []string) (some []string) {
	for _, p := range places {
		if chance(p).IntN(8) == 0 {
			some = append(some, p)
		}
	}
	return some
}

// seed is IPDC_SEED, or another one for each run.
var seed = func() func() uint64 {
	n, err := strconv.ParseUint(os.Getenv("IPDC_SEED"), 10, 64)
	if err != nil {
		n = uint64(time.Now().UnixNano()) % 1_000_000
	}
	return func() uint64 { return n }
}()

// chance is what the seed says about one thing, whatever else was asked.
func chance(of string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(of))
	return rand.New(rand.NewPCG(seed(), h.Sum64()))
}

// long says whether more is to be done than each run does.
func long() bool { return cmp.Or(os.Getenv("IPDC_PROVE_LONG"), "0") != "0" }
