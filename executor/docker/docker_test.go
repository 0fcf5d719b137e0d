package docker_test

import (
	"testing"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
)

func TestExecutor(t *testing.T) {
	refusal.Produces(t, jobspec.KindImageGone, jobspec.KindLost)
	testenv.Docker(t)
	runtimes(t, func(t *testing.T, runtime string) {
		b := newBenchOn(t, runtime)
		host := testenv.Docker(t)
		executortest.Test(t, executortest.Harness{
			Open: func(t *testing.T) executor.Executor {
				ex, err := docker.Open(bounded(t), docker.Config{Host: host, Runtime: runtime})
				if err != nil {
					t.Fatalf("Open: %v", err)
				}
				return ex
			},
			Image:   b.image,
			Command: []string{"/probe", "script"},
			Missing: missingImage(),
		})
	})
}
