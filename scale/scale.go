// Package scale decides how many instances there are and who gets them: admission,
// the order of those who wait, for how long instances are kept, and which one makes
// room. It is pure: no clock, no goroutine, no system call. What happened goes in,
// with the time; what is to be done comes out. docs/scaling.md has the rules for
// people.
//
// The rules, in the order in which they apply:
//
//  1. A request takes a free place of an instance of its version, the busiest one
//     first, then the one used last.
//  2. Otherwise it waits in its version's line, first come first served. One start
//     is begun for each place that is missing for those in line and not under way
//     yet, if there is room: never more starts than requests that wait. What comes
//     first, a start's instance or one that gets free, goes to the head of the line. A
//     start that nobody needs any more is finished, and its instance kept.
//  3. Lines are served in the order of start-time fair queueing (Goyal et al.,
//     SIGCOMM'96), each request at the same cost, with a clock per function: who
//     asks for more waits longer, who asks for little is not behind them.
//  4. Room is below the function's maximum, below the limit of all instances, and
//     within the memory budget. Idle instances make room, the one first whose
//     keep-alive window ends first. Once a request waits for what all share, no later
//     one gets of it.
//  5. An instance that requests of its own version wait for makes room for another
//     version only if that has none, or at least two less.
package scale

import (
	"time"

	"thaw"
)

// Key names a version.
type Key struct {
	Function string
	Version  int
}

// KeyOf is the key of v.
func KeyOf(v thaw.Version) Key { return Key{v.Function, v.Number} }

// Limits bound what all functions have together.
type Limits struct {
	// Instances is how many may exist at once.
	Instances int
	// Memory is the budget in bytes, 0 for none.
	Memory int64
	// Waiting is how many requests of a function may wait for room; those that
	// wait for a start under way do not count.
	Waiting int
}

// Settings are those of one version.
type Settings struct {
	// Concurrency is how many invocations an instance serves at once, at least 1.
	Concurrency int
	// Min is how many instances the version has at least while it serves, Max how
	// many its function has at most, with all its versions.
	Min, Max  int
	KeepAlive KeepAlive
	// Need is what a start is taken to need of memory, in bytes, until some
	// instance was measured.
	Need int64
}

// Kind is what a decision has done.
type Kind int

const (
	// Begin has Instance made: for Ticket, or for whoever comes when that is nil.
	Begin Kind = iota
	// Grant gives Ticket a place of Instance.
	Grant
	// Refuse ends Ticket's wait with Err.
	Refuse
	// End has Instance closed; then its memory is free: see [Scheduler.Gone].
	End
)

// Decision is something to do now, in the order in which they come out.
type Decision struct {
	Kind     Kind
	Instance *Instance
	Ticket   *Ticket
	Err      error
	// Fresh says of a grant that the instance was made while its ticket waited, and
	// that nobody has had it before.
	Fresh bool
}

// State is where an instance is in its life.
type State int

const (
	Starting State = iota
	Ready
	Ending
	Gone
)

// Instance is one instance as far as decisions go. It belongs to its scheduler.
type Instance struct {
	version *version
	state   State
	leases  int
	charge  int64 // bytes: what it is taken to occupy
	peak    int64 // bytes: the most that was measured
	begun   time.Time
	since   time.Time
	expires time.Time
	// bound is whom a start is for alone, nil for a start that serves the line.
	bound *Ticket
	// exclusive instances have one lease, whatever their concurrency.
	exclusive bool
	retired   bool // it ends when it has no lease
	fresh     bool // made just now
	ahead     bool // begun with no request waiting for it, and never used
}

// Key names its version.
func (in *Instance) Key() Key { return in.version.key }

// State is where it is in its life.
func (in *Instance) State() State { return in.state }

// Leases is how many hold it.
func (in *Instance) Leases() int { return in.leases }

// Since is when it was last released, or begun.
func (in *Instance) Since() time.Time { return in.since }

// Begun is when its start began.
func (in *Instance) Begun() time.Time { return in.begun }

// Memory is what it is taken to occupy, in bytes, and whether that was measured.
func (in *Instance) Memory() (bytes int64, measured bool) { return in.charge, in.peak > 0 }

// free says whether another lease fits.
func (in *Instance) free() bool {
	return in.state == Ready && !in.retired && in.leases < in.version.settings.Concurrency && (in.leases == 0 || !in.exclusive)
}

// idle says whether nobody holds it.
func (in *Instance) idle() bool { return in.state == Ready && in.leases == 0 }

// Ticket is a request's place in line.
type Ticket struct {
	version *version
	cold    bool
	tag     int64 // start tag of start-time fair queueing
	place   place
	blocked error     // why nothing was begun for it yet
	begun   time.Time // the start that was begun for it, zero without one
	// promised says that only memory that is being freed is missing.
	promised bool
}

// Begun is when a start was begun for it, which another one may have got; zero for
// never.
func (t *Ticket) Begun() time.Time { return t.begun }

// Cold says that it wants an instance of its own.
func (t *Ticket) Cold() bool { return t.cold }

type place int

const (
	inLine  place = iota
	started       // a cold one, whose own start is under way
	left
)

// function is what the versions of a function share.
type function struct {
	name      string
	serves    *version // kept at its minimum; nil for none
	instances int      // starting and ready
	leases    int
	finish    int64 // tag of start-time fair queueing
	ended     time.Time
	histogram *Histogram // nil before the first idle time
	// prewarm is when an instance is to be there again, zero for never, and warm
	// until when it is kept then.
	prewarm, warm time.Time
	failures      int       // of starts that nobody waited for, in a row
	retry         time.Time // not before then
}

// version is what is known of one.
type version struct {
	key       Key
	function  *function
	settings  Settings
	instances []*Instance // starting and ready
	line      []*Ticket
	starting  int   // starts that serve the line
	need      int64 // bytes: what a start is taken to need
	removed   bool
}
