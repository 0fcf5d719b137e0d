package jobspec

import (
	"fmt"
	"maps"
	"slices"
)

// The bounds of gangs.
const (
	MaxGang         = 64  // tasks; each of them is told of all others
	MaxGangRestarts = 100 // in all
	GangPort        = 20_000

	defaultGangRestarts = 3
)

// Gang says that the tasks of a stage run at the same time, or none of them
// does, and that each knows the others by name. Tasks are numbered by role, in
// order of names, then by index; see [Gang.Tasks].
type Gang struct {
	Roles map[string]int `json:"roles"` // how many tasks of each; names as those of stages
	// Restart says what the failure or the loss of one task does; default never.
	Restart GangRestart `json:"restart,omitempty"`
	// Restarts is how often the gang may be started again, 1 to
	// [MaxGangRestarts]; with restart: all only. Default 3.
	Restarts int `json:"restarts,omitempty"`
	// Ends is the role whose tasks decide: when all of them have succeeded, the
	// others are stopped and count as done. "" = all tasks have to succeed.
	Ends string `json:"ends,omitempty"`
}

// GangRestart says what happens when a task of a gang fails or is lost.
type GangRestart string

// The values of GangRestart.
const (
	GangRestartNever GangRestart = "never" // all are ended, the job has failed
	GangRestartAll   GangRestart = "all"   // all are ended and started again, as a new generation
)

// GangTask is one task of a gang.
type GangTask struct {
	Name string // "worker-0"
	Role string // "worker"
	Port int    // that its program listens on, the same in all containers: GangPort plus its number
}

// Count is how many tasks g has.
func (g Gang) Count() (n int) {
	for _, k := range g.Roles {
		n += k
	}
	return n
}

// Tasks returns the tasks of g in their order: of roles in byte order of their
// names, then by index.
func (g Gang) Tasks() []GangTask {
	var list []GangTask
	for _, role := range slices.Sorted(maps.Keys(g.Roles)) {
		for i := range g.Roles[role] {
			list = append(list, GangTask{Name: fmt.Sprintf("%s-%d", role, i), Role: role, Port: GangPort + len(list)})
		}
	}
	return list
}

// Decides says whether the end of the tasks of a role decides that of the gang.
func (g Gang) Decides(role string) bool { return g.Ends == "" || g.Ends == role }

// Peers is what an attempt of a gang's task knows of its generation of the
// gang. All attempts of a generation know the same but for Self.
type Peers struct {
	// Gang is 128 random bits in hex that name this generation of the gang in
	// the whole domain. Who knows them has no right by that.
	Gang       string     `json:"gang"`
	Generation int        `json:"generation"`          // from 1 on; the number of each of its attempts
	Self       int        `json:"self"`                // index in Tasks of the attempt's own task
	Checkpoint CID        `json:"checkpoint,omitzero"` // the newest of the gang when this generation was formed
	Tasks      []GangPeer `json:"tasks"`               // all of the gang, in their order
}

// GangPeer is a task of a gang and where it runs. The API's document has a type
// for each name, whatever its package.
type GangPeer struct {
	Name string `json:"name"` // "worker-0"
	Role string `json:"role"` // "worker"
	Port int    `json:"port"` // that its program listens on
	Node string `json:"node"` // peer id of the member that runs it in this generation
}

// GangState is how far a job's gang has come.
type GangState struct {
	Stage  int `json:"stage"`  // of the spec's stages
	Begun  int `json:"begun"`  // the last generation whose programs were started; 0 = none was
	Starts int `json:"starts"` // generations whose programs were started
}

// withDefaults returns g with its defaults filled in; g itself is not changed.
func (g *Gang) withDefaults() *Gang {
	if g == nil {
		return nil
	}
	c := *g
	fill(&c.Restart, GangRestartNever)
	if c.Restart == GangRestartAll {
		fill(&c.Restarts, defaultGangRestarts)
	}
	return &c
}

// HasGang says whether a stage of s, or s itself, is a gang.
func (s Spec) HasGang() bool {
	return s.Gang != nil || slices.ContainsFunc(s.Stages, func(st Stage) bool { return st.Gang != nil })
}

// bounded returns t for a stage that is no gang, beside one that may have no
// limit.
func (t Timeouts) bounded() Timeouts {
	if t.Run == NoLimit {
		t.Run = DefaultRunTimeout
	}
	t.Total = min(t.Total, MaxTimeout)
	return t
}

// validateGang checks s.Gang, and what stands beside it.
func (s Spec) validateGang(l *problemList, parts int) {
	g := s.Gang
	if g == nil {
		return
	}
	g.validateRoles(l)
	oneOf(l, "gang.restart", g.Restart, GangRestartNever, GangRestartAll)
	switch {
	case g.Restarts != 0 && g.Restart != GangRestartAll:
		l.add("gang.restarts", "is %d, and needs restart: all", g.Restarts)
	case g.Restarts < 0 || g.Restarts > MaxGangRestarts:
		l.add("gang.restarts", "is %d, want 1 to %d", g.Restarts, MaxGangRestarts)
	}
	if g.Ends != "" && g.Roles[g.Ends] == 0 {
		l.add("gang.ends", "is %q, which is no role of the gang: they are %s", clip(g.Ends), words(anySlice(sortedKeys(g.Roles))))
	}
	count, sp := g.Count(), s.Split
	switch {
	case parts > 0 && parts != count:
		l.add("gang.roles", "has %d tasks, and what they read has %d partitions: each task reads one", count, parts)
	case sp.Into != 0 && sp.Into != count:
		l.add("split.into", "is %d, and the gang has %d tasks: leave it out, or give each task one", sp.Into, count)
	case sp.Size != 0:
		l.add("split.size", "says nothing of how many shards there are, and the gang has %d tasks: use split.into", count)
	}
	if s.Run.Per == PerItem {
		l.add("run.per", "is item, and the tasks of a gang are run once each: use per: task")
	}
	if s.Cache != CacheOff {
		l.add("cache", "is %s, and what a gang gave is not remembered: leave it out", s.Cache)
	}
	if s.Place.LocalOnly() {
		l.add("place.require.data", "is local, and the tasks of a gang go where there is room for all of them at once: leave it out")
	}
	if s.Place.Overflow != (Overflow{}) {
		l.add("place.overflow", "is for tasks that wait one by one: leave it out, or use place.require")
	}
}

func (g Gang) validateRoles(l *problemList) {
	if len(g.Roles) == 0 {
		l.add("gang.roles", "is empty: say how many tasks of each role there are, such as {worker: 2}")
	}
	total := 0
	for _, role := range sortedKeys(g.Roles) {
		path, n := joinKey("gang.roles", role), g.Roles[role]
		if !stageName.MatchString(role) {
			l.add(path, "a role's name begins with a-z and has up to 32 of a-z, 0-9 and '-'")
		}
		if n < 1 || n > MaxGang {
			l.add(path, "is %d, want 1 to %d", n, MaxGang)
		}
		total += min(max(n, 0), MaxGang)
	}
	if total > MaxGang && len(g.Roles) > 1 {
		l.add("gang.roles", "has %d tasks in all, at most %d run as one gang", total, MaxGang)
	}
}

func anySlice(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
