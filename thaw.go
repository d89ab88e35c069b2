// Package thaw holds the domain of the framework: functions and their
// immutable versions, snapshots, restore policies, the record of a start and
// the error codes that cross every edge. It makes no system call and imports no
// other package of this module, so that everything else can speak its words.
//
// Sizes are bytes unless a name says pages; a page is [PageSize] bytes; times
// in records are milliseconds as floating point, because people read them.
package thaw

// PageSize is the size in bytes of the guest page that every working set, plan
// and fault count is expressed in: 4 KiB, the base page of x86-64.
const PageSize = 4096

// MaxPayload is the largest request or reply body in bytes of a synchronous
// invocation: 6 MiB, as AWS Lambda has it.
const MaxPayload = 6 << 20
