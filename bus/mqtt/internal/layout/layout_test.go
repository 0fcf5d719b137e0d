package layout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/mqtt/internal/layout"
	"github.com/ipdc/ipdc/identity"
)

func TestQ08Topics(t *testing.T) {
	a, b := newKey(t).ID(), newKey(t).ID()
	d := bus.DomainID(strings.Repeat("a", 26))
	topics := layout.Of(d)
	for _, good := range []string{topics.All(bus.TopicNodes, a), topics.To(b, a), topics.Gone(a)} {
		if got, ok := topics.Parse(good); !ok || got.From != a {
			t.Errorf("Parse(%s) = %v, %v", good, got, ok)
		}
		if ok, _ := topics.MayPublish(a, good); !ok {
			t.Errorf("%s may not publish to %s", a, good)
		}
		if ok, _ := topics.MayPublish(b, good); ok {
			t.Errorf("%s may publish to %s", b, good)
		}
	}
	prefix := "ipdc/" + string(d) + "/"
	for _, bad := range []string{
		"", "#", "+", "$SYS/broker", prefix, prefix + "all", prefix + "all/other/" + string(a), prefix + "all/nodes/+", prefix + "all/nodes/" + string(a) + "/x",
		prefix + "to/#/" + string(a), prefix + "to/" + string(b), prefix + "gone/\x00", prefix + "gone/" + string(a) + "\x00",
		"ipdc/" + strings.Repeat("b", 26) + "/gone/" + string(a), strings.Repeat("a/", 128), prefix + strings.Repeat("x", 65000),
	} {
		if got, ok := topics.Parse(bad); ok {
			t.Errorf("Parse(%.60q) = %v", bad, got)
		}
		if ok, _ := topics.MayPublish(a, bad); ok {
			t.Errorf("it may publish to %.60q", bad)
		}
	}
	for filter, want := range map[string]bool{
		prefix + "all/+/+": true, prefix + "gone/+": true, prefix + "to/" + string(a) + "/+": true,
		prefix + "to/+/+": false, prefix + "to/" + string(b) + "/+": false, prefix + "#": false, "#": false, "+/+/+": false, "$SYS/#": false,
		"$share/g/" + prefix + "all/+/+": false, prefix + "all/#": false,
		topics.Gone(b): false, prefix + "all/+/" + string(b): false, topics.All(bus.TopicNodes, b): false, prefix + "all/1/+": false,
	} {
		if got := topics.MaySubscribe(a, filter); got != want {
			t.Errorf("MaySubscribe(%s) = %v, want %v", filter, got, want)
		}
	}
	for topic, want := range map[string]bool{
		topics.All(bus.TopicNodes, b): true, topics.Gone(b): true, topics.To(a, b): true,
		topics.To(b, a): false, "$SYS/broker": false, prefix + "all/x/" + string(b): false,
	} {
		if got := topics.MayRead(a, topic); got != want {
			t.Errorf("MayRead(%s) = %v, want %v", topic, got, want)
		}
	}
}

type everybody struct{}

func (everybody) Check(identity.ID, []byte, time.Time) error { return nil }

func TestQ01Pass(t *testing.T) {
	key, now := newKey(t), time.Unix(1_800_000_000, 0)
	d, other := bus.DomainID(strings.Repeat("a", 26)), bus.DomainID(strings.Repeat("b", 26))
	pass, err := layout.NewPass(d, key, []byte("c"), now)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		d    bus.DomainID
		id   identity.ID
		pass string
		now  time.Time
		ok   bool
	}{
		{"control", d, key.ID(), pass, now, true},
		{"a minute later", d, key.ID(), pass, now.Add(time.Minute), true},
		{"old", d, key.ID(), pass, now.Add(time.Hour), false},
		{"from ahead", d, key.ID(), pass, now.Add(-time.Hour), false},
		{"another's", d, newKey(t).ID(), pass, now, false},
		{"another domain", other, key.ID(), pass, now, false},
		{"cut", d, key.ID(), pass[:len(pass)-4], now, false},
		{"none", d, key.ID(), "", now, false},
		{"long", d, key.ID(), strings.Repeat("A", 1<<16), now, false},
	} {
		if _, err := layout.CheckPass(tt.d, everybody{}, tt.id, []byte(tt.pass), tt.now); (err == nil) != tt.ok {
			t.Errorf("%s: CheckPass = %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}

func newKey(t *testing.T) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
