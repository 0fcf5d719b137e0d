package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/ipdc/ipdc/internal/shuffle"
	"github.com/ipdc/ipdc/internal/taskrun"
	"github.com/ipdc/ipdc/wire/guest"
)

// stage is a run of map, reduce or sample: the part of a map-reduce job that
// is done in one container.
type stage struct {
	name    string // map, reduce or sample
	root    string // directory that stands for /
	command []string
	program *children
	memory  int64 // of the container, in bytes

	partitions int
	byRange    bool
	kind       shuffle.Kind
	records    records
	combiner   string
	data       string // directory of the input
	samples    string

	mu       sync.Mutex // the combiner runs beside the mapper
	counters map[string]int64
}

// add adds to a counter.
func (s *stage) add(counter string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters[counter] += n
}

// records says how files become records.
type records struct {
	perFile bool // each file is one: the command is run for each
	asIs    bool // files are pieces: nothing is put between them
}

// defaultMemory is assumed where the task does not tell its limit.
const defaultMemory = 256 << 20

// runStage does the whole work and ends the process as the user's command
// ended.
func runStage(root string, args []string) {
	s := &stage{root: root, counters: map[string]int64{}}
	end, err := s.run(args)
	if err != nil {
		end = s.fail(err)
	}
	_ = os.RemoveAll(s.spillDir())
	if end.Signal != 0 {
		dieBy(syscall.Signal(end.Signal))
	}
	os.Exit(end.Code)
}

func (s *stage) run(args []string) (taskrun.Exit, error) {
	if err := s.parse(args); err != nil {
		return taskrun.Exit{}, err
	}
	s.memory = s.limit()
	s.program = watchSignals()
	defer s.program.close()
	run := map[string]func() error{"map": s.runMap, "reduce": s.runReduce, "sample": s.runSample}[s.name]
	err := run()
	var ended *endError
	if end, stopped := s.program.Stopped(); stopped {
		return end, nil
	}
	if errors.As(err, &ended) {
		s.report(guest.Line{Type: guest.LineFailure, Detail: ended.Error(), ExitCode: ended.Code})
		fmt.Fprintln(os.Stderr, "ipdc: "+ended.Error())
		return ended.Exit, nil
	}
	if err == nil {
		s.countTime()
		s.report(guest.Line{Type: guest.LineCounters, Counters: s.counters})
	}
	return taskrun.Exit{}, err
}

// countTime counts the processor's time of the user's processes and of our own.
func (s *stage) countTime() {
	for name, who := range map[string]int{"user": syscall.RUSAGE_CHILDREN, "own": syscall.RUSAGE_SELF} {
		var ru syscall.Rusage
		if syscall.Getrusage(who, &ru) == nil {
			s.add(s.name+".ms_cpu_"+name, (ru.Utime.Nano()+ru.Stime.Nano())/1e6)
		}
	}
}

// fail says why the work was not done.
func (s *stage) fail(err error) taskrun.Exit {
	var start *taskrun.StartError
	if errors.As(err, &start) {
		fmt.Fprintln(os.Stderr, "ipdc: "+start.Detail)
		s.report(guest.Line{Type: guest.LineStartError, Detail: start.Detail, ExitCode: start.Code})
		return taskrun.Exit{Code: start.Code}
	}
	l := guest.Line{Type: guest.LineFailure, Detail: err.Error(), ExitCode: guest.ExitGuest}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		l.Kind = guest.KindQuota
	}
	fmt.Fprintf(os.Stderr, "ipdc: %s: %v\n", s.name, err)
	s.report(l)
	return taskrun.Exit{Code: guest.ExitGuest}
}

// parse reads the arguments.
func (s *stage) parse(args []string) error {
	s.name = args[0]
	switch s.name {
	case "map", "reduce", "sample":
	default:
		return fmt.Errorf("unknown command %q: want map, reduce or sample", s.name)
	}
	f := flag.NewFlagSet(s.name, flag.ContinueOnError)
	format := f.Int("format", 1, "format of the runs")
	speech := f.String("io", "lines", "how the command speaks: lines or frames")
	rec := f.String("records", "lines", "lines, file or bytes:N")
	by := f.String("partition", "hash", "hash or range")
	f.IntVar(&s.partitions, "partitions", 1, "number of partitions")
	f.StringVar(&s.combiner, "combiner", "", "shell command that combines sorted lines")
	f.StringVar(&s.data, "data", guest.Inputs, "directory of the input")
	f.StringVar(&s.samples, "samples", guest.Inputs+"/side/sample", "directory of samples, for range")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	s.command = f.Args()
	s.byRange = *by == "range"
	s.kind = map[string]shuffle.Kind{"lines": shuffle.Lines, "frames": shuffle.Frames}[*speech]
	switch n, isBytes := strings.CutPrefix(*rec, "bytes:"); {
	case isBytes:
		if v, err := strconv.ParseInt(n, 10, 64); err != nil || v < 1 {
			return fmt.Errorf("--records %s: %q is no number of bytes", *rec, n)
		}
		s.records.asIs = true
	case *rec == "file":
		s.records.perFile = true
	case *rec != "lines":
		return fmt.Errorf("--records %s: want lines, file or bytes:N", *rec)
	}
	switch {
	case *format != 1:
		return fmt.Errorf("--format %d: this program knows format 1", *format)
	case s.kind == 0:
		return fmt.Errorf("--io %s: want lines or frames", *speech)
	case !s.byRange && *by != "hash":
		return fmt.Errorf("--partition %s: want hash or range", *by)
	case s.partitions < 1 || s.partitions > shuffle.MaxPartitions:
		return fmt.Errorf("--partitions %d: want 1 to %d", s.partitions, shuffle.MaxPartitions)
	case s.combiner != "" && s.kind != shuffle.Lines:
		return fmt.Errorf("--combiner works on lines; with frames the program combines")
	case s.kind == shuffle.Frames && len(s.command) == 0:
		return fmt.Errorf("--io frames needs a command that speaks them")
	}
	return nil
}

// at returns where a path of the container really is.
func (s *stage) at(path string) string { return filepath.Join(s.root, path) }

func (s *stage) spillDir() string { return filepath.Join(s.at(guest.ReportDir), guest.Spill) }

// limit returns the memory of the container.
func (s *stage) limit() int64 {
	var t guest.Task
	b, err := os.ReadFile(s.at(guest.TaskFile))
	if err != nil || json.Unmarshal(b, &t) != nil || t.Memory <= 0 {
		return defaultMemory
	}
	return t.Memory
}

// budget returns how much memory pairs may take: the user's program needs its
// share, where there is one.
func (s *stage) budget() int64 {
	if len(s.command) == 0 && s.combiner == "" {
		return s.memory / 2
	}
	return s.memory / 4
}

// report appends a line. The exit code is what counts, so an error stops
// nothing.
func (s *stage) report(l guest.Line) {
	f, err := os.OpenFile(s.at(guest.ReportFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o644)
	if err == nil {
		defer f.Close()
		var b []byte
		if b, err = l.Encode(); err == nil {
			_, err = f.Write(b)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "ipdc: write report: %v\n", err)
	}
}

// dieBy ends this process by a signal, so that whoever waits sees how the
// user's command ended. Go handles most signals itself: the kernel is asked to
// do what it does by default.
func dieBy(sig syscall.Signal) {
	runtime.LockOSThread()
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	action := struct{ handler, flags, restorer, mask uintptr }{}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	// To this very thread: it is delivered before the call returns.
	_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(os.Getpid()), uintptr(syscall.Gettid()), uintptr(sig))
	os.Exit(guest.ExitSignal + int(sig)) // a signal that ends nothing
}
