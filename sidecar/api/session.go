package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// errRevoked ends the requests of a tenant whose token was revoked.
var errRevoked = errors.New("the token was revoked")

// sessions are the requests under way by tenant, so that a revoked token has
// no stream left, and how much each tenant may still ask.
type sessions struct {
	mu      sync.Mutex
	age     int // counts revocations
	cancels map[string]map[*context.CancelCauseFunc]bool
	buckets map[string]*bucket
}

func newSessions() *sessions {
	return &sessions{cancels: map[string]map[*context.CancelCauseFunc]bool{}, buckets: map[string]*bucket{}}
}

// now is to be taken before a token is looked up; see enter.
func (s *sessions) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.age
}

// enter returns a context that ends when the tenant's token is revoked, and
// what to call at the request's end. ok is false when a token was revoked
// since age: it may have been this one.
func (s *sessions) enter(ctx context.Context, tenant string, age int) (_ context.Context, leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age != s.age {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if s.cancels[tenant] == nil {
		s.cancels[tenant] = map[*context.CancelCauseFunc]bool{}
	}
	s.cancels[tenant][&cancel] = true
	return ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cancels[tenant], &cancel)
		if len(s.cancels[tenant]) == 0 {
			delete(s.cancels, tenant)
		}
		cancel(nil)
	}, true
}

// revoke ends all requests of the tenant.
func (s *sessions) revoke(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age++
	delete(s.buckets, tenant)
	for cancel := range s.cancels[tenant] {
		(*cancel)(errRevoked)
	}
}

// bucket holds what a tenant may ask now; it fills up with time.
type bucket struct {
	left float64
	at   time.Time
}

// take refuses a tenant that asks more than rate requests a second on average,
// and more than burst at once. There is one bucket per token.
func (s *sessions) take(tenant string, rate float64, now time.Time) error {
	burst := math.Max(1, 2*rate)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[tenant]
	if b == nil {
		b = &bucket{left: burst, at: now}
		s.buckets[tenant] = b
	}
	b.left = math.Min(burst, b.left+rate*now.Sub(b.at).Seconds())
	b.at = now
	if b.left >= 1 {
		b.left--
		return nil
	}
	wait := int(math.Ceil((1 - b.left) / rate))
	return TooMany(jobspec.Failure{
		Kind: jobspec.KindLimit, Detail: fmt.Sprintf("over %g requests a second of one token", rate),
		Hint: fmt.Sprintf("ask again after %d s, or raise the node's setting api-rate", wait),
	}, wait)
}

// TooMany returns an error that is answered with the status 429 and tells
// when to come again, in seconds.
func TooMany(f jobspec.Failure, after int) error {
	return &refusal{status: http.StatusTooManyRequests, failure: f, header: http.Header{"Retry-After": {fmt.Sprint(after)}}}
}
