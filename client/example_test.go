package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

// A node that has finished every job at once stands in for a real one.
func newExampleNode() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"id":"01jd5x8v7n0000000000000000","state":"succeeded","result":"bafkqaaa"}`)
	}))
}

func Example() {
	node := newExampleNode()
	defer node.Close()
	ctx := context.Background()

	c, err := client.New(node.URL, client.WithToken("the token's secret"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	job, err := c.Submit(ctx, jobspec.Spec{
		Version: jobspec.Version,
		Run:     jobspec.Run{Image: "shell", Command: []string{"sh", "-c", "wc -c /inputs/* >/outputs/sizes"}},
		Inputs:  []jobspec.Input{{CID: "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"}},
	}, "sizes-2026-11-21")
	if err != nil {
		fmt.Println(err) // every problem of the spec, each with its path
		return
	}
	job, err = c.Wait(ctx, job.ID.String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(job.State, job.Result)
	// Output: succeeded bafkqaaa
}
