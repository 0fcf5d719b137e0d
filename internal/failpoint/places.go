package failpoint

import "slices"

// The points of a durable step: before its side effect, between the effect and
// the row that says it is done, and after that row.
const (
	before = ".before-effect"
	after  = ".after-effect"
	done   = ".after-completion"
)

// places are the steps and the points that each of them has.
var places = []struct {
	points []string
	steps  []string
}{
	{[]string{before, after, done}, []string{
		"accepted", "queued", "leased", "staged", "image", "created", "running", "exited", "packaged", "recorded", "cleaned", "abandoned",
		"published", "succeeded", "stage", "instant-started", "delivery", "pin", "entered", "schedule",
	}},
	{[]string{after, done}, []string{"publishing", "failed", "stopped"}}, // states without an effect of their own
	{[]string{before, after}, []string{ // their rows are those of other steps
		"assigned", "reported", "taken-in", "settled", "gang-held", "gang-started", "volume",
	}},
	{[]string{before, done}, []string{"stopping", "taken-on", "taken-over", "gang-assigned", "removed", "instant-due"}}, // rows only
	{[]string{done}, []string{"instant-ended", "instant-missed"}},
	{[]string{".root-pinned", ".head-pinned", ".committed"}, []string{"dataset"}},
	{[]string{".before-commit"}, []string{"store.migrate"}},
	{[]string{".write", ".rename", ".done"}, []string{"domain.domain.id", "domain.membership", "domain.invites"}},
	{[]string{".rename", ".done"}, []string{"domain.enter"}},
	{[]string{""}, []string{"domain.sweep"}},
}

// All returns the names of all places, sorted. A crash matrix over them misses
// none: [Hit] panics at a place that is not among them, once anything is set.
func All() []string {
	var all []string
	for _, p := range places {
		for _, step := range p.steps {
			for _, point := range p.points {
				all = append(all, step+point)
			}
		}
	}
	slices.Sort(all)
	return all
}
