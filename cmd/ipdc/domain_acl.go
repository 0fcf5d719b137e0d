package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt"
	"github.com/ipdc/ipdc/domain"
)

func (a *app) domainACLCmd() *cobra.Command {
	return &cobra.Command{
		Use: "acl", Short: "Print the acl_file of a mosquitto that serves the domain",
		Long: "Acl prints what each member may publish and read at a broker of your own, by the\n" +
			"pattern of its user name, which is the id of its node. A running mosquitto reads\n" +
			"its acl_file anew on SIGHUP.",
		Example: "  ipdc domain acl > /etc/mosquitto/ipdc.acl",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			m, err := a.ownDomain()
			if err != nil {
				return err
			}
			acl := mqtt.MosquittoACL(bus.DomainID(m.ID()))
			v := struct {
				Domain domain.ID `json:"domain"`
				ACL    string    `json:"acl"`
			}{m.ID(), acl}
			return a.print(v, m.ID().String(), func(w io.Writer) error {
				_, err := io.WriteString(w, acl)
				return err
			})
		},
	}
}
