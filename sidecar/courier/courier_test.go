package courier_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

func manyFiles() map[string]string {
	files := map[string]string{"a": "", `back\slash`: "x"}
	for i := range 150 {
		files[fmt.Sprintf("dir/%03d", i)] = fmt.Sprint(i)
	}
	return files
}

func TestPublishAndTell(t *testing.T) {
	w := newWorld(t)
	job := w.ended(manyFiles(), jobspec.Spec{Name: "nightly", Publish: []string{"file:///srv"}, Notify: []string{"exec:mail"}})
	defer w.run()()
	list := w.until(job.ID, all(jobspec.DeliveryDone))
	if diff := cmp.Diff(manyFiles(), w.landed()); diff != "" {
		t.Errorf("at the place (-want +got):\n%s", diff)
	}
	if list[0].Files != 152 || list[0].Why != "1 symbolic links were left out" || list[0].Ended.IsZero() || list[0].Tries != 0 {
		t.Errorf("delivery = %+v", list[0])
	}
	puts, told := w.outlets.seen()
	if last := puts[len(puts)-1]; last != "SHA256SUMS" {
		t.Errorf("%s was sent last, want the checksums", last)
	}
	if len(told) != 1 || told[0].ID != "msg_"+job.ID.String()+"_succeeded_1" {
		t.Fatalf("told %+v", told)
	}
	var n wire.Notice
	if err := json.Unmarshal(told[0].Body, &n); err != nil {
		t.Fatal(err)
	}
	if n.Type != "job.succeeded" || n.Data.Result != job.Result || n.Data.Name != "nightly" || n.Data.Node != "12D3node" {
		t.Errorf("notice = %+v", n)
	}
}

// A place that fails is tried again, and gets what it lacks only.
func TestPublishAgain(t *testing.T) {
	w := newWorld(t)
	w.outlets.failures = 2
	job := w.ended(manyFiles(), jobspec.Spec{Publish: []string{"file:///srv"}})
	defer w.run()()
	list := w.until(job.ID, all(jobspec.DeliveryDone))
	if list[0].Tries == 0 || list[0].Files != 152 {
		t.Errorf("delivery = %+v, want all files and some tries", list[0])
	}
	if diff := cmp.Diff(manyFiles(), w.landed()); diff != "" {
		t.Errorf("at the place (-want +got):\n%s", diff)
	}
}

func TestGivesUp(t *testing.T) {
	w := newWorld(t)
	w.outlets.failures = 1000
	job := w.ended(map[string]string{"a": "", "b": "", "c": "", "d": ""}, jobspec.Spec{Publish: []string{"file:///srv"}})
	began := w.clock.now()
	defer w.run()()
	list := w.until(job.ID, all(jobspec.DeliveryFailed))
	if d := list[0]; d.Tries != 16 || d.Why != "the server is not well" || d.Ended.Sub(began) < 2*time.Hour {
		t.Errorf("delivery = %+v after %s, want 16 tries over hours", d, d.Ended.Sub(began))
	}
}

// What is not permitted is not done, and is tried again: its file may be in the
// midst of an edit.
func TestForbidden(t *testing.T) {
	w := newWorld(t)
	w.outlets.refuse = true
	job := w.ended(map[string]string{"a": ""}, jobspec.Spec{Publish: []string{"file:///srv"}})
	defer w.run()()
	d := w.until(job.ID, func(list []jobspec.Delivery) bool { return list[0].Tries > 1 })[0]
	if puts, _ := w.outlets.seen(); len(puts) != 0 || d.Why == "" {
		t.Errorf("delivery = %+v, %d puts", d, len(puts))
	}
	w.outlets.mu.Lock()
	w.outlets.refuse = false
	w.outlets.mu.Unlock()
	w.end(w.clock.add(time.Hour))
	w.until(job.ID, all(jobspec.DeliveryDone))
}

// A result that has files of the name of the checksums keeps them.
func TestSumsOfItsOwn(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{"SHA256SUMS": "mine", "SHA256SUMS.ipdc/x": "mine, too"}
	job := w.ended(files, jobspec.Spec{Publish: []string{"file:///srv"}})
	defer w.run()()
	w.until(job.ID, all(jobspec.DeliveryDone))
	for name, want := range files {
		if b, err := os.ReadFile(filepath.Join(w.outlets.top, name)); string(b) != want {
			t.Errorf("%s = %q, %v, want %q", name, b, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(w.outlets.top, "SHA256SUMS.ipdc.ipdc")); err != nil {
		t.Errorf("the checksums are not there: %v", err)
	}
}

// A process that ends in the midst of it has the next one do it.
func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	job := w.ended(manyFiles(), jobspec.Spec{Publish: []string{"file:///srv"}})
	w.outlets.top = filepath.Join(w.outlets.top, "later") // is not there: each Put fails
	stop := w.run()
	w.until(job.ID, func(list []jobspec.Delivery) bool { return list[0].Tries > 0 })
	stop()
	if err := os.Mkdir(w.outlets.top, 0o755); err != nil {
		t.Fatal(err)
	}
	w.outlets.puts = nil
	defer w.run()()
	w.until(job.ID, all(jobspec.DeliveryDone))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(manyFiles())), slices.Sorted(maps.Keys(w.landed()))); diff != "" {
		t.Errorf("at the place (-want +got):\n%s", diff)
	}
}

// A job that is removed takes its deliveries with it.
func TestRemoved(t *testing.T) {
	w := newWorld(t)
	w.outlets.failures = 1000
	files := map[string]string{"a": "", "b": "", "c": "", "d": ""}
	job := w.ended(files, jobspec.Spec{Publish: []string{"file:///srv"}})
	defer w.run()()
	w.until(job.ID, func(list []jobspec.Delivery) bool { return list[0].Tries > 1 })
	w.update(func(tx *store.Tx) error { return tx.DeleteJob(job.ID) })
	w.end(w.clock.now())
	for pause := range w.pauses {
		if pause == time.Hour {
			return // nothing is left to do
		}
		w.end(w.clock.add(pause))
	}
}

// A delivery whose next try was set by a clock that was ahead, by hours or a
// year, is tried when the clock is right again, also where others wait.
func TestF31ClockWasAhead(t *testing.T) {
	for _, ahead := range []time.Duration{3 * time.Hour, 365 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			w := newWorld(t)
			w.clock.add(ahead)
			w.outlets.failures = 1
			job := w.ended(map[string]string{"a": "", "b": "", "c": "", "d": ""}, jobspec.Spec{Publish: []string{"file:///srv"}})
			stop := w.run()
			w.until(job.ID, func(list []jobspec.Delivery) bool { return list[0].Tries == 1 })
			stop()
			w.clock.add(-ahead)
			for n := range 100 { // more than are looked at together
				waits := jobspec.Delivery{Kind: jobspec.DeliverPublish, To: fmt.Sprintf("file:///srv/%d", n), State: jobspec.DeliveryWaiting, Next: w.clock.now().Add(time.Hour)}
				w.update(func(tx *store.Tx) error { return tx.PutDelivery(job.ID, n+1, waits) })
			}
			defer w.run()()
			late := time.After(2 * time.Minute)
			for w.deliveries(job.ID)[0].State != jobspec.DeliveryDone {
				select {
				case <-w.pauses: // time stands still
				case <-late:
					t.Fatalf("delivery = %+v at %s, want it done", w.deliveries(job.ID)[0], w.clock.now())
				}
			}
		})
	}
}
