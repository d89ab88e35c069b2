package queue

import (
	"fmt"
	"time"

	"thaw"
)

// Retry says when what failed is tried again. It is pure: time and chance are
// given to it. The defaults are AWS Lambda's
// (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
type Retry struct {
	// Retries is how often an invocation is tried again after the function itself
	// failed, Callbacks how often a callback is.
	Retries, Callbacks int
	// MaxAge is how long an item is tried at all; throttles and failures of the
	// platform are retried until then.
	MaxAge time.Duration
	// Function spaces out retries after failures of the function, Platform all
	// others.
	Function, Platform Backoff
}

// DefaultRetry returns Lambda's own values. Callbacks are a choice: five retries
// are spread over about half a minute.
func DefaultRetry() Retry {
	return Retry{
		Retries: 2, Callbacks: 5, MaxAge: 6 * time.Hour,
		Function: Backoff{Base: time.Minute, Cap: time.Hour},
		Platform: Backoff{Base: time.Second, Cap: 5 * time.Minute},
	}
}

// Backoff is exponential with full jitter: before retry n, counted from 0, it is
// a random time up to Base·2ⁿ, at most Cap.
// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)
type Backoff struct {
	Base, Cap time.Duration
}

// delay returns the time before retry n; chance is from 0 up to 1.
func (b Backoff) delay(n int, chance float64) time.Duration {
	longest := b.Cap
	if n < 32 && b.Base < b.Cap>>n {
		longest = b.Base << n
	}
	return time.Duration(chance * float64(longest))
}

// decide notes on it that an attempt failed with err at now: it gets a new due
// time, or a reason to be dead.
func (r Retry) decide(it *thaw.QueueItem, err error, now time.Time, chance float64) {
	fault := r.note(it, thaw.CodeOf(err))
	if reason := r.hopeless(it, thaw.CodeOf(err)); reason != "" {
		kill(it, reason+": "+err.Error(), now)
		return
	}
	backoff, n := r.Platform, it.Failures+it.Faults-1
	if !fault && it.Kind == thaw.KindInvoke {
		backoff, n = r.Function, it.Failures-1
	}
	it.State, it.Due = thaw.ItemWaiting, now.Add(backoff.delay(n, chance))
	if it.Due.After(it.Expires) {
		kill(it, fmt.Sprintf("given up %s after it was accepted: %s", now.Sub(it.Accepted).Round(time.Second), err), now)
	}
}

// note counts an error by whose it is, and says whether it is the platform's.
func (r Retry) note(it *thaw.QueueItem, code thaw.Code) (fault bool) {
	fault = it.Kind == thaw.KindInvoke && code != thaw.CodeFunction
	if fault {
		it.Faults++
	} else {
		it.Failures++
	}
	return fault
}

// hopeless says why another attempt would make no sense, "" if it would.
func (r Retry) hopeless(it *thaw.QueueItem, code thaw.Code) string {
	switch code {
	case thaw.CodeNotFound, thaw.CodeInvalid, thaw.CodeTooLarge:
		return "it cannot succeed as it is"
	}
	tries := r.Retries
	if it.Kind == thaw.KindCallback {
		tries = r.Callbacks
	}
	if it.Failures <= tries {
		return ""
	}
	if it.Kind == thaw.KindCallback {
		return fmt.Sprintf("the callback failed %d times", it.Failures)
	}
	return fmt.Sprintf("the function failed %d times", it.Failures)
}

// kill makes it a dead letter.
func kill(it *thaw.QueueItem, reason string, now time.Time) {
	it.State, it.Reason, it.Died = thaw.ItemDead, clip(reason), now
}

// maxText bounds the texts that an item keeps, in bytes: a message may hold a
// console's last words.
const maxText = 2 << 10

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	const mark = "…"
	return s[:maxText-len(mark)] + mark
}
