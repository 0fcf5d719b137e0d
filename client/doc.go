// Package client speaks the HTTP API of a node. Each method is one endpoint of
// docs/api.md; Wait and the resuming of Events are all that is added.
//
//	c, err := client.New("unix:///run/user/1000/ipdc/api.sock") // client.FromEnv() in a program ipdc-NAME
//	job, err := c.Submit(ctx, spec, "")
//	job, err = c.Wait(ctx, job.ID.String())
//	car, err := c.Download(ctx, job.Result, client.FormatCAR)
//	defer car.Close()
//
// Invariants: a refusal by the node is an [Error] that carries its
// jobspec.Failure; [ErrNoNode] means that nothing listens at the address; how a
// job ended is data in wire.Job, never an error. Short calls have a deadline,
// streams end with their context only. A token is sent to loopback addresses
// and to nothing else, whatever the environment says about proxies. What
// [Client.Download] returns is not verified: readers of a CAR check its blocks.
package client
