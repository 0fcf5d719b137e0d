// Command ipdc-guest is the entrypoint of every job's container. It reads the
// task, runs the job's command once or for each item, carries what it says on at
// a bounded pace, and reports. Where a
// network is granted, it offers the proxy's socket on a TCP port, and in a task
// of a gang each peer as one. Package
// wire/guest says where it finds what and what it writes.
//
//	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' ./cmd/ipdc-guest
//	# in a container, without arguments:
//	/ipdc/guest
//	# in tests, with a directory that stands for /:
//	ipdc-guest -root /tmp/t
//
// With map, reduce or sample it is a task's command itself: it runs the user's
// program and does the partitioning, sorting and merging beside it. See
// internal/shuffle.
//
//	/ipdc/guest map --partitions 8 -- sh -c 'tr -s " " "\n"'
//	/ipdc/guest reduce -- uniq -c
//
// Invariants: it waits for the command itself, and at its end for the engine to
// take what it has said until then: not for processes that the command left
// behind but for a moment to bury them, not for another reader or a writer, nor
// for the pace. The program, which has its user, gets at none of its
// descriptors. As process 1 it takes in what has no parent. The
// exit code is the command's own, 128+n after signal n, or 125 to 127 as
// docker run gives them.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/pace"
	"github.com/ipdc/ipdc/internal/taskrun"
)

func main() {
	root := flag.String("root", "", "directory that stands for / (for tests)")
	host := flag.String("host", "127.0.0.1", "address of this container (for tests)")
	flag.Parse()
	if flag.NArg() > 0 {
		runStage(*root, flag.Args())
	}
	os.Exit(run(*root, *host))
}

func run(root, host string) int {
	c := watchSignals()
	defer c.close()
	c.first, c.pace = os.Getpid() == 1, pace.New()
	// Else Go ends us where nobody reads our streams. Not Ignore: programs would
	// begin with that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		c.unable = fmt.Errorf("close our own streams to the program: %w", err)
	}
	gang, err := openPeers(root, host)
	if err != nil {
		c.unable = fmt.Errorf("open the way to the peers: %w", err)
	}
	defer gang.close()
	net, err := openRelay(root, gang.names())
	if err != nil {
		c.unable = fmt.Errorf("open the network: %w", err)
	}
	defer net.close()
	return taskrun.Run(taskrun.Config{Root: root, Env: net.environ(os.Environ()), Program: c})
}
