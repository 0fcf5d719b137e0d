package jobspec

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Offer is what a node has for tasks.
type Offer struct {
	Arch     string            // of its containers; "" = not known
	Labels   map[string]string //
	Capacity Resources         // of all tasks together
	Strict   string            // what gives a container a kernel of its own, such as "runsc"; "" = nothing
}

// Against returns every reason why a task of s can never run on a node with
// that offer, as "memory: asks 64GiB, has 24GiB" or "label cloud: missing";
// none when it can. Whether it is free now, and what it holds of the input, is
// not asked. Nothing is ever clamped.
func (s Spec) Against(o Offer) []string {
	s = s.WithDefaults()
	why := s.Resources.over(o.Capacity)
	if s.Isolation == IsolationStrict && o.Strict == "" {
		why = append(why, "isolation: asks strict, has standard")
	}
	for _, key := range slices.Sorted(maps.Keys(s.Place.Require)) {
		if lack := o.lacks(key, s.Place.Require[key]); lack != "" {
			why = append(why, lack)
		}
	}
	return why
}

// Overflows says whether a node with that offer is kept for tasks that have
// waited for the others.
func (p Place) Overflows(o Offer) bool {
	if p.Overflow.To == "" {
		return false
	}
	key, value, err := ParseRequirement(p.Overflow.To)
	return err == nil && o.lacks(key, value) == ""
}

// lacks says why o does not meet a requirement, or "".
func (o Offer) lacks(key, value string) string {
	differs := func(what, has string, ok bool) string {
		switch {
		case !ok:
			return fmt.Sprintf("%s: asks %s, has none", what, value)
		case has != value:
			return fmt.Sprintf("%s: asks %s, has %s", what, value, has)
		}
		return ""
	}
	name, isLabel := strings.CutPrefix(key, labelPrefix)
	switch {
	case isLabel:
		has, ok := o.Labels[name]
		return differs("label "+name, has, ok)
	case key == requireLabel:
		if _, ok := o.Labels[value]; !ok {
			return "label " + value + ": missing"
		}
	case key == requireRegion:
		has, ok := o.Labels[requireRegion]
		return differs(key, has, ok)
	case key == requireArch:
		return differs(key, o.Arch, o.Arch != "")
	}
	return ""
}

// over names each resource that r asks more of than there is.
func (r Resources) over(have Resources) (lacks []string) {
	add := func(what string, ask, has fmt.Stringer, short bool) {
		if short {
			lacks = append(lacks, fmt.Sprintf("%s: asks %s, has %s", what, ask, has))
		}
	}
	add("cpu", r.CPU, have.CPU, r.CPU > have.CPU)
	add("memory", r.Memory, have.Memory, r.Memory > have.Memory)
	add("disk", r.Disk, have.Disk, r.Disk > have.Disk)
	add("gpu", GPUs(r.GPU), GPUs(have.GPU), r.GPU > have.GPU)
	return lacks
}

// GPUs is a number of graphics processors.
type GPUs int

// String returns the number.
func (n GPUs) String() string { return fmt.Sprint(int(n)) }

// Slots returns how many tasks of r run at once on a node of that capacity, 0
// when not one does.
func (r Resources) Slots(have Resources) int {
	n := int64(have.CPU / max(r.CPU, 1))
	n = min(n, int64(have.Memory/max(r.Memory, 1)), int64(have.Disk/max(r.Disk, 1)))
	if r.GPU > 0 {
		n = min(n, int64(have.GPU/r.GPU))
	}
	return int(n)
}

// Unfit is why nodes cannot run a job: the reasons against each of them.
type Unfit [][]string

// String groups the reasons and counts the nodes that each is about, most
// first: "3 members: memory: asks 64GiB, has 24GiB; 1 member: label cloud:
// missing".
func (u Unfit) String() string {
	count := map[string]int{}
	for _, reasons := range u {
		for _, why := range reasons {
			count[why]++
		}
	}
	all := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(count[b]-count[a], strings.Compare(a, b))
	})
	parts := make([]string, 0, maxReasons+1)
	for i, why := range all {
		if i == maxReasons {
			parts = append(parts, fmt.Sprintf("and %d more reasons", len(all)-i))
			break
		}
		noun := "members"
		if count[why] == 1 {
			noun = "member"
		}
		parts = append(parts, fmt.Sprintf("%d %s: %s", count[why], noun, why))
	}
	return strings.Join(parts, "; ")
}

// maxReasons is how many reasons one sentence tells.
const maxReasons = 8

// Nobody is the Failure of a job that not one of those nodes can run, of kind
// E_POLICY.
func (u Unfit) Nobody() Failure {
	f := Failure{
		Kind: KindPolicy, Detail: "no member of the domain can run it: " + u.String(),
		Hint: "ask for less, or let in a node that has it (ipdc domain invite); ipdc peers shows who has what",
	}
	if len(u) == 1 {
		f.Where, f.Detail = "resources", "this node cannot run it: "+strings.Join(u[0], "; ")
		f.Hint = "ask for less, or let in a node that has it (ipdc domain invite)"
	}
	return f
}
