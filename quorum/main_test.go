package quorum_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/internal/faultfs"
)

func TestMain(m *testing.M) {
	faultfs.Serve()
	goleak.VerifyTestMain(m)
}
