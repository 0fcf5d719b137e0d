package kubo_test

import (
	"errors"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
)

// A name that moves is followed, and one that points to nothing is said to.
func TestResolveName(t *testing.T) {
	k := testenv.Kubo(t)
	n := open(t, kubo.Config{Addr: addr(t, k), Dir: t.TempDir(), Owner: "test"})
	name := "/ipns/" + k.Run("id", "-f", "<id>")
	if c, err := n.ResolveName(t.Context(), name); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("a name that was never published is %s, %v, want E_NOT_FOUND", c, err)
	}
	for _, text := range []string{"one", "two"} {
		want := userAdds(t, k, text)
		k.Run("name", "publish", "--allow-offline", "--quieter", "/ipfs/"+want.String())
		if got, err := n.ResolveName(t.Context(), name); err != nil || got != want {
			t.Errorf("the name is %s, %v, want %s", got, err, want)
		}
	}
	for _, bad := range []string{"", "/ipns/", "/ipns/../x", "/ipns/" + name + "/a", "/ipfs/x"} {
		if c, err := n.ResolveName(t.Context(), bad); err == nil {
			t.Errorf("%q is %s", bad, c)
		}
	}
}
