package jobspec

import (
	"fmt"
	"strings"
)

// Fits reports whether a task of s can start on a node that has total
// resources of which free are not in use. It returns nil when it can. The
// Failure is of kind E_POLICY when the node is too small for it ever to start,
// and of kind E_LIMIT when it must wait; both carry the numbers. Nothing is
// ever clamped.
func (s Spec) Fits(free, total Resources) *Failure {
	ask := s.WithDefaults().Resources
	if lacks := ask.over(total, "the node has"); lacks != "" {
		return &Failure{
			Kind: KindPolicy, Where: "resources", Detail: lacks,
			Hint: "ask for less, or submit to a larger node",
		}
	}
	if lacks := ask.over(free, "free now"); lacks != "" {
		return &Failure{
			Kind: KindLimit, Where: "resources", Detail: lacks,
			Hint: "it starts when other tasks have ended",
		}
	}
	return nil
}

// over names each resource that r asks more of than there is.
func (r Resources) over(have Resources, words string) string {
	var lacks []string
	if r.CPU > have.CPU {
		lacks = append(lacks, fmt.Sprintf("asked %s CPUs, %s %s", r.CPU, words, have.CPU))
	}
	if r.Memory > have.Memory {
		lacks = append(lacks, fmt.Sprintf("asked %s of memory, %s %s", r.Memory, words, have.Memory))
	}
	if r.Disk > have.Disk {
		lacks = append(lacks, fmt.Sprintf("asked %s of disk, %s %s", r.Disk, words, have.Disk))
	}
	return strings.Join(lacks, "; ")
}
