package faults

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/bench/standin"
)

// Backing is what is behind a page that is touched.
type Backing string

// The backings. InPlace raises no fault: what a touch takes by itself. PageCache is
// a private mapping of a file of which the touched pages alone are in the page
// cache; with PageCacheAround all of it is, page by page, and the kernel maps the
// neighbours, too; with PageCacheReadahead it was read in order, and one fault maps
// as much as the kernel keeps in one piece. MemoryFile is one in memory
// (memfd_create(2)), as resident working sets are. Userfaultfd is served from another
// process out of memory; UserfaultfdWrites is registered for writes as well, as a
// recording is. Disk is a private mapping of a file with nothing in the page cache
// (mincore(2)), without readahead (MADV_RANDOM).
const (
	InPlace            Backing = "in-place"
	Anonymous          Backing = "anonymous"
	PageCache          Backing = "page-cache"
	PageCacheAround    Backing = "page-cache-around"
	PageCacheReadahead Backing = "page-cache-readahead"
	MemoryFile         Backing = "memory-file"
	Userfaultfd        Backing = "userfaultfd"
	UserfaultfdWrites  Backing = "userfaultfd-writes"
	Disk               Backing = "disk"
)

// backings are those that a fault can have, in the order they take turns.
func backings() []Backing {
	return []Backing{Anonymous, PageCache, PageCacheAround, PageCacheReadahead, MemoryFile, Userfaultfd, UserfaultfdWrites, Disk}
}

// Touch is how a page is touched.
type Touch string

// The touches. CopyOnWrite is a write to a page that was read before: of the page of
// zeroes, or of a file's page in the page cache.
const (
	Read        Touch = "read"
	Write       Touch = "write"
	CopyOnWrite Touch = "copy-on-write"
)

// Kind names a class of page faults.
type Kind struct {
	Backing Backing `json:"backing"`
	Touch   Touch   `json:"touch"`
	// PageBytes is 4 KiB or 2 MiB.
	PageBytes int64 `json:"page_bytes"`
}

// Huge says that it is of 2 MiB pages.
func (k Kind) Huge() bool { return k.PageBytes == standin.HugeSize }

// String describes k in a few words.
func (k Kind) String() string {
	return fmt.Sprintf("%s, %s, %s", k.Backing, k.Touch, pageName(k.PageBytes))
}

func pageName(bytes int64) string {
	if bytes == standin.HugeSize {
		return "2 MiB"
	}
	return "4 KiB"
}

// kinds are all classes, in the order they take turns.
func kinds() []Kind {
	list := []Kind{{InPlace, Read, thaw.PageSize}}
	for _, size := range []int64{thaw.PageSize, standin.HugeSize} {
		for _, b := range backings() {
			if size == standin.HugeSize && (b == PageCacheAround || b == PageCacheReadahead || b == UserfaultfdWrites) {
				continue // a page of 2 MiB has no neighbours; nobody records by 2 MiB
			}
			for _, t := range []Touch{Read, Write, CopyOnWrite} {
				list = append(list, Kind{b, t, size})
			}
		}
	}
	return list
}

func (k Kind) traps() bool { return k.Backing == Userfaultfd || k.Backing == UserfaultfdWrites }

// numbered says that pages begin with their numbers, not with zeroes.
func (k Kind) numbered() bool { return k.Backing != InPlace && k.Backing != Anonymous }

// advice is what the kernel is told of the memory.
func (k Kind) advice() []int {
	list := []int{unix.MADV_NOHUGEPAGE}
	if k.Huge() {
		list = []int{unix.MADV_HUGEPAGE}
	}
	if k.Backing == Disk || k.Backing == PageCache {
		list = append(list, unix.MADV_RANDOM) // or the next page is read with this one
	}
	return list
}

// strays are faults that the touching thread may raise besides, such as one of its
// stack.
const strays = 2

// errAnotherClass marks a sample of which not each touch was the fault it should be:
// always, when the class is wrong, or now and then, when the kernel took memory back
// from the touching process meanwhile.
var errAnotherClass = errors.New("that is another class")

// check refuses a sample that is not of its kind.
func (k Kind) check(c Counts) error {
	if k.Huge() {
		if err := k.checkHuge(c); err != nil {
			return err
		}
	}
	minor, major, trapped := k.expected()
	ok := c.Trapped == trapped*c.Touches
	if trapped == 0 { // else the kernel counts the wait as it likes
		ok = ok && near(c.Minor, minor*c.Touches) && near(c.Major, major*c.Touches)
	}
	if !ok {
		return fmt.Errorf("%d touches were %d minor and %d major faults, %d of them trapped: %w", c.Touches, c.Minor, c.Major, c.Trapped, errAnotherClass)
	}
	return nil
}

func near(n, want int64) bool { return n >= want && n <= want+strays }

// expected are the faults of each touch.
func (k Kind) expected() (minor, major, trapped int64) {
	first := k.Touch != CopyOnWrite
	switch {
	case k.Backing == InPlace:
		return 0, 0, 0
	case k.Backing == UserfaultfdWrites, k.Backing == Userfaultfd && first:
		return 0, 0, 1
	case k.Backing == Userfaultfd: // pages are installed ready to be written
		return 0, 0, 0
	case k.Backing == Disk && first:
		return 0, 1, 0
	}
	return 1, 0, 0
}

// checkHuge finds out by the page map whether a touch brought in 2 MiB.
func (k Kind) checkHuge(c Counts) error {
	const each = standin.HugeSize / thaw.PageSize
	got, what := c.Mapped, "mapped"
	if k.Touch != Read {
		got, what = c.Own, "copied"
	}
	if got != each*c.Touches {
		return unavailable(fmt.Sprintf("the kernel %s %d pages of 4 KiB at %d touches, not 2 MiB at each", what, got, c.Touches))
	}
	return nil
}

// unavailable is an error that says why this machine does not have a class.
type unavailable string

func (u unavailable) Error() string { return string(u) }

// Is makes it an [errors.ErrUnsupported].
func (u unavailable) Is(err error) bool { return err == errors.ErrUnsupported }
