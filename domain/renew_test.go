package domain_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipdc/ipdc/domain"
)

// Who is revoked gets nothing at the door; the others get the newest secret.
func TestRefresh(t *testing.T) {
	a, _ := founded(t, "lab")
	b, c := newNode(t), newNode(t)
	letIn(t, a, b)
	letIn(t, a, c)
	if _, changed, err := refresh(t, a, b, now); err != nil || changed {
		t.Errorf("nothing new: %v, %v", changed, err)
	}
	am, err := a.Revoke(now, c.key.ID())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		bm, _, err := refresh(t, a, b, now)
		if err != nil || bm.PSK() != am.PSK() || bm.List.Generation != 2 {
			t.Errorf("Refresh = %v, %v, want the new secret", bm, err)
		}
	}
	if cm, changed, err := refresh(t, a, c, now); !isPNet(err) || changed || cm.PSK() == am.PSK() {
		t.Errorf("Refresh of the revoked = %v, %v, %v, want E_PNET", cm, changed, err)
	}
	if _, err := join(t, a, c, invite(t, a, domain.InviteOptions{}), now); !isPNet(err) || !says(err, "was revoked") {
		t.Errorf("Join of the revoked = %v, want E_PNET", err)
	}
	// Any member hands the newest on, also one that may invite nobody.
	d := newNode(t)
	letIn(t, a, d)
	if _, err := a.Revoke(now, newKey(t).ID()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := refresh(t, a, d, now); err != nil {
		t.Fatal(err)
	}
	if bm, changed, err := refresh(t, d, b, now); err != nil || !changed || bm.List.Generation != 3 {
		t.Errorf("from a member: %v, %v, %v", bm, changed, err)
	}
	// A member that is behind takes nobody back.
	if dm, changed, err := refresh(t, c, d, now); err == nil && (changed || dm.List.Generation != 3) {
		t.Errorf("from one that is behind: %v, %v, %v", dm, changed, err)
	}
}

// A certificate is renewed when a third is left, not before and not too late.
func TestRenew(t *testing.T) {
	for _, tt := range []struct {
		after  time.Duration
		change bool
		ok     bool
	}{{domain.Lifetime / 2, false, true}, {domain.Lifetime * 3 / 4, true, true}, {domain.Lifetime + time.Hour, false, false}} {
		a, _ := founded(t, "lab")
		b := newNode(t)
		before := letIn(t, a, b)
		m, changed, err := refresh(t, a, b, now.Add(tt.after))
		if changed != tt.change || (err == nil) != tt.ok || m.Certificate.NotAfter.After(before.Certificate.NotAfter) != tt.change {
			t.Errorf("after %s: changed %v until %s, %v", tt.after, changed, m.Certificate.NotAfter, err)
		}
	}
}

// A member cannot make up a secret: the admin key has signed its hash.
func TestSecretMadeUp(t *testing.T) {
	a, am := founded(t, "lab")
	b := newNode(t)
	letIn(t, a, b)
	// The member's file with another secret, and the checksum of it.
	file := filepath.Join(a.Dir, "domains", am.ID().String(), "membership")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(raw, am.Secrets()[0]); got != 1 {
		t.Fatalf("control: the secret stands %d times in its file", got)
	}
	err = talkRaw(t, a, b, func(answer []byte) []byte {
		return bytes.Replace(answer, am.Secrets()[0], make([]byte, 31), 1) // shorter, to be sure
	})
	if err == nil {
		t.Error("a secret of 31 bytes was taken")
	}
	other := domain.NewSecret()
	if err := talkRaw(t, a, b, func(answer []byte) []byte { return bytes.Replace(answer, am.Secrets()[0], other[:], 1) }); !isPNet(err) || !says(err, "not the one that the domain's admin signed") {
		t.Errorf("another secret: %v, want E_PNET", err)
	}
	if err := talkRaw(t, a, b, func(answer []byte) []byte { return answer }); err != nil {
		t.Errorf("control: %v", err)
	}
}
