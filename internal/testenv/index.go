package testenv

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Index needs the Python package index, which some tests install from: the part
// "index".
func Index(t testing.TB) {
	t.Helper()
	const url = "https://pypi.org/simple/six/"
	client := http.Client{Timeout: 15 * time.Second}
	resp, err := client.Head(url)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s answers %s", url, resp.Status)
		}
	}
	Need(t, "index", err)
}
