package thaw

import (
	"encoding/json"
	"regexp"
	"time"
)

// AsyncRequest asks for an invocation that nobody waits for.
type AsyncRequest struct {
	// Function is NAME[:QUALIFIER], see [Ref]. An alias is looked up by each attempt.
	Function string
	// Payload is the event, JSON.
	Payload []byte
	// Source says where it came from: [SourceLambda], [SourceOpenFaaS], or
	// [SourceSchedule] followed by the schedule's id.
	Source string
	Trace  TraceContext
	// CallID is the caller's own name for it; "" is the request id.
	CallID string
	// Callback is an http or https URL that gets the result, "" for none.
	Callback string
}

// The sources of asynchronous invocations.
const (
	SourceLambda   = "lambda"
	SourceOpenFaaS = "openfaas"
	SourceSchedule = "schedule/"
)

// ItemKind says what is to be done with an item of the queue.
type ItemKind string

const (
	// KindInvoke runs the function.
	KindInvoke ItemKind = "invoke"
	// KindCallback posts the result of an invocation to its callback URL.
	KindCallback ItemKind = "callback"
)

// ItemState is where an item of the queue is in its life.
type ItemState string

const (
	ItemWaiting ItemState = "waiting"
	ItemRunning ItemState = "running"
	// ItemDead is an item that was given up, with the reason: a dead letter.
	ItemDead ItemState = "dead"
)

// QueueItem is an asynchronous invocation that was accepted and is not done, or
// the delivery of its result. Done items are forgotten; the invocation has its
// record.
type QueueItem struct {
	// ID is the request id, of a callback that of its invocation with
	// [CallbackSuffix].
	ID       string `json:"id"`
	Function string `json:"function"`
	// Qualifier is as it was asked for, "" for what serves.
	Qualifier string    `json:"qualifier,omitempty"`
	Kind      ItemKind  `json:"kind"`
	Source    string    `json:"source"`
	State     ItemState `json:"state"`
	Accepted  time.Time `json:"accepted"`
	// Due is when the next attempt begins at the earliest.
	Due time.Time `json:"due"`
	// Expires is when it is given up, whatever the reason it still waits for.
	Expires time.Time `json:"expires"`
	// Bytes is the size of the payload.
	Bytes    int          `json:"bytes"`
	Trace    TraceContext `json:"trace,omitzero"`
	CallID   string       `json:"call_id,omitempty"`
	Callback string       `json:"callback,omitempty"`
	// Result is what a callback tells beside the payload.
	Result *CallResult `json:"result,omitempty"`
	// Failures counts attempts that failed by the fault of the function, or of the
	// callback's server; Faults those by the platform's, throttles included. Both
	// begin anew when the item is redriven.
	Failures int `json:"failures"`
	Faults   int `json:"faults"`
	// Attempts are the last ones, oldest first, at most [MaxAttempts].
	Attempts []Attempt `json:"attempts,omitempty"`
	// Reason says why it is dead, Died since when.
	Reason string    `json:"reason,omitempty"`
	Died   time.Time `json:"died,omitzero"`
}

// Ref names what the item invokes.
func (i QueueItem) Ref() Ref { return Ref{i.Function, i.Qualifier} }

const (
	// CallbackSuffix ends the id of a callback.
	CallbackSuffix = ".callback"
	// MaxAttempts is how many attempts of an item are remembered.
	MaxAttempts = 16
)

// Attempt is one try at an item of the queue.
type Attempt struct {
	Began      time.Time `json:"began"`
	DurationMS float64   `json:"duration_ms"`
	// Version was executed, 0 of a callback or if it did not come to that.
	Version int `json:"version,omitempty"`
	// Code and Error say why it failed; both are "" while it runs.
	Code  Code   `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
}

// CallResult is how an invocation with a callback ended.
type CallResult struct {
	// FunctionError is the error type when the function itself failed.
	FunctionError string `json:"function_error,omitempty"`
	// Code is set when there was no reply at all.
	Code       Code    `json:"code,omitempty"`
	DurationMS float64 `json:"duration_ms"`
	// Version was executed, 0 if it did not come to that.
	Version int `json:"version,omitempty"`
}

// Delivery is a result on its way to a callback URL.
type Delivery struct {
	URL, Function, CallID string
	Payload               []byte
	CallResult
	Trace TraceContext
}

// ItemFilter chooses items of the queue. The zero value of each field is any.
type ItemFilter struct {
	ID, Function string
	State        ItemState
}

// ParseItemState returns the state called s, "" for "".
func ParseItemState(s string) (ItemState, error) {
	switch state := ItemState(s); state {
	case "", ItemWaiting, ItemRunning, ItemDead:
		return state, nil
	}
	return "", Errorf(CodeInvalid, "unknown state %q of an item: choose %s, %s or %s", s, ItemWaiting, ItemRunning, ItemDead)
}

var itemRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,79}$`)

// CheckItemID returns a [CodeInvalid] error unless id can be that of an item of
// the queue.
func CheckItemID(id string) error {
	if !itemRule.MatchString(id) {
		return Errorf(CodeInvalid, "id %.80q of an item is not valid: `thaw queue ls` lists those that are there", id)
	}
	return nil
}

// Schedule invokes a function at times.
type Schedule struct {
	// ID is its name, by the rule of functions' names.
	ID        string `json:"id"`
	Function  string `json:"function"`
	Qualifier string `json:"qualifier,omitempty"`
	// Spec is a cron expression; see package schedule.
	Spec string `json:"spec"`
	// Data is the event.
	Data    json.RawMessage `json:"data"`
	Created time.Time       `json:"created"`
	// Next is when it is due.
	Next time.Time `json:"next,omitzero"`
	// Slot is the due time that it fired for last, Last when that was, and
	// LastRequest what came of it.
	Slot        time.Time `json:"slot,omitzero"`
	Last        time.Time `json:"last,omitzero"`
	LastRequest string    `json:"last_request,omitempty"`
	// Problem says why the last slot was left out.
	Problem string `json:"problem,omitempty"`
}

// Ref names what the schedule invokes.
func (s Schedule) Ref() Ref { return Ref{s.Function, s.Qualifier} }
