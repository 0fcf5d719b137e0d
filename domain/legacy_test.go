package domain_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ipdc/ipdc/domain"
)

const legacyConf = `# ipdc.conf
DOMAIN_NAME="Lab.Example."
export MANAGEMENT_IP=192.0.2.7
PROJECT='sensors'

API_PORT=5001
SWARM_PORT=4001
`

func TestLegacy(t *testing.T) {
	got, err := domain.ParseLegacy([]byte(legacyConf))
	if err != nil {
		t.Fatal(err)
	}
	want := domain.Legacy{
		Domain: "lab.example", Management: netip.MustParseAddr("192.0.2.7"), Project: "sensors",
		Ports: map[string]int{"API_PORT": 5001, "SWARM_PORT": 4001}, Written: "Lab.Example.",
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("ParseLegacy (-want +got):\n%s", diff)
	}
	for _, say := range []string{"lab.example", "its name admits nobody", "192.0.2.7", "project=sensors", "2 ports"} {
		if !strings.Contains(got.Note(), say) {
			t.Errorf("Note() = %q, without %q", got.Note(), say)
		}
	}
}

func TestLegacyRefused(t *testing.T) {
	for in, say := range map[string]string{
		"":                                       "no DOMAIN_NAME",
		"DOMAIN_NAME=":                           "DOMAIN_NAME is empty",
		"DOMAIN_NAME=../x":                       "no domain name",
		"DOMAIN_NAME=*":                          "nothing is evaluated",
		"DOMAIN_NAME=a\nDOMAIN_NAME=b":           "line 2: DOMAIN_NAME stands there twice",
		"DOMAIN_NAME=$(id)":                      "nothing is evaluated",
		"DOMAIN_NAME=a; reboot":                  "nothing is evaluated",
		"DOMAIN_NAME=a\nMANAGEMENT_IP=a.example": "line 2: MANAGEMENT_IP",
		"DOMAIN_NAME=a\nAPI_PORT=0":              "no port",
		"DOMAIN_NAME=a\nAPI_PORT=70000":          "no port",
		"DOMAIN_NAME=a\nCOLOUR=red":              "COLOUR is unknown",
		"DOMAIN_NAME=a\nsource /etc/profile":     "not NAME=VALUE",
		"DOMAIN_NAME=a\x1b[31m":                  "nothing is evaluated",
		strings.Repeat("#", 1<<20):               "1048576 bytes",
	} {
		if l, err := domain.ParseLegacy([]byte(in)); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("ParseLegacy(%.60q) = %v, %v, want an error with %q", in, l, err, say)
		}
	}
}
