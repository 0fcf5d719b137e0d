package main

import "github.com/spf13/cobra"

func (a *app) mrStatusCmd() *cobra.Command {
	return &cobra.Command{Use: "status JOB", Short: "Show how far a map-reduce is"}
}
