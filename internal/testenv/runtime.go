package testenv

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// Runtime makes sure that the engine knows an OCI runtime of this name.
func Runtime(t testing.TB, name string) {
	t.Helper()
	Docker(t)
	Need(t, name, hasRuntime(name))
}

func hasRuntime(name string) error {
	var info struct{ Runtimes map[string]any }
	err := ask(dockerHost(), "/info", func(resp *http.Response) error { return json.NewDecoder(resp.Body).Decode(&info) })
	if _, ok := info.Runtimes[name]; err == nil && !ok {
		err = fmt.Errorf("the engine does not know it; for runsc run: scripts/runsc.sh")
	}
	return err
}
