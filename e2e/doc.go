// Package e2e holds tests of the real program: ipdc processes, a real Docker
// Engine, real images and pictures. Nothing is faked.
//
//	make test                                     # with all else
//	IPDC_TEST_REQUIRE=docker go test ./e2e        # these alone
//	IPDC_BENCH=docs/benchmarks.md go test -run TestBench ./e2e
//
// Each test has a node of its own with its own state directory; when it ends,
// the engine, the mounts and the loop devices must be as before.
package e2e
