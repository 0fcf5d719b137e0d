package e2e

import (
	"fmt"
	"io"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// mrJob is where the time of a map-reduce went, by its record.
type mrJob struct {
	root   string
	wall   time.Duration
	stages []mrStage // in their order
}

// mrStage sums up the tasks of a stage.
type mrStage struct {
	name           string
	tasks          int
	phases         jobspec.Phases
	sorting        time.Duration // the guest's own: partitioning and sorting, spills and merges
	cpu            time.Duration
	memory         jobspec.Bytes // of the largest process
	bytes          int64         // of outputs, as far as they are counted
	first, last    time.Time
	records, pairs int64
}

func newMRJob(j wire.Job, root string) *mrJob {
	m := &mrJob{root: root, wall: j.Finished.Sub(j.Submitted)}
	for _, a := range j.Attempts {
		if a.Receipt == nil || a.Failure != nil {
			continue
		}
		name := "reduce"
		for _, n := range []string{"map", "sample"} {
			if _, ok := a.Counters[n+".pairs"]; ok {
				name = n
			}
		}
		s := m.stage(name)
		s.tasks++
		s.add(a)
	}
	return m
}

func (m *mrJob) stage(name string) *mrStage {
	for i := range m.stages {
		if m.stages[i].name == name {
			return &m.stages[i]
		}
	}
	m.stages = append(m.stages, mrStage{name: name})
	return &m.stages[len(m.stages)-1]
}

func (s *mrStage) add(a jobspec.Attempt) {
	p, q := &s.phases, a.Phases
	for _, d := range [][2]*jobspec.Duration{
		{&p.Brought, &q.Brought}, {&p.Staged, &q.Staged}, {&p.Mounted, &q.Mounted}, {&p.Created, &q.Created}, {&p.Begun, &q.Begun},
		{&p.Ran, &q.Ran}, {&p.Packed, &q.Packed}, {&p.Recorded, &q.Recorded}, {&p.Taken, &q.Taken},
	} {
		*d[0] += *d[1]
	}
	for _, name := range []string{".ms_sort", ".ms_merge"} {
		s.sorting += time.Duration(a.Counters[s.name+name]) * time.Millisecond
	}
	s.bytes += a.Counters[s.name+".bytes_out"]
	s.records += a.Counters[s.name+".records"]
	s.pairs += a.Counters[s.name+".pairs"]
	s.cpu += a.Receipt.Usage.CPU.Std()
	s.memory = max(s.memory, a.Receipt.Usage.MaxMemory)
	if s.first.IsZero() || a.Leased.Before(s.first) {
		s.first = a.Leased
	}
	if end := a.Exited.Add((q.Packed + q.Recorded).Std()); end.After(s.last) {
		s.last = end
	}
}

// breakdown writes a table of where the time of jobs went.
func breakdown(w io.Writer, names []string, jobs map[string]*mrJob) {
	fmt.Fprint(w, `| job | stage | tasks | wall | container made and started | staging | the program with the guest | of it sort and merge | pack and record | CPU | peak memory of a process | bytes out |
|---|---|---|---|---|---|---|---|---|---|---|---|
`)
	sec := func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }
	for _, name := range names {
		j, stages := jobs[name], time.Duration(0)
		for _, s := range j.stages {
			p, wall := s.phases, s.last.Sub(s.first)
			stages += wall
			fmt.Fprintf(w, "| %s | %s | %d | %s | %s | %s | %s | %s | %s | %s | %.0f MiB | %.1f MB |\n", name, s.name, s.tasks, sec(wall),
				sec((p.Mounted + p.Created + p.Begun).Std()), sec((p.Brought + p.Staged).Std()), sec(p.Ran.Std()), sec(s.sorting),
				sec((p.Packed + p.Recorded).Std()), sec(s.cpu), float64(s.memory)/(1<<20), float64(s.bytes)/1e6)
		}
		fmt.Fprintf(w, "| %s | all else: split, merge, verify | | %s | | | | | | | | |\n", name, sec(j.wall-stages))
	}
}
