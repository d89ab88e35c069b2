// Package plan decides how a policy brings guest memory in. A [Plan] is a pure
// value made from what is known of a snapshot: it can be printed, compared and
// tested without a VM. Package restore carries it out.
package plan

import (
	"fmt"
	"slices"
	"strings"

	"thaw"
	"thaw/workingset"
)

// Backing is what stands behind a region of guest memory.
type Backing string

const (
	// Anonymous memory reads as zeroes; the kernel serves its page faults.
	Anonymous Backing = "anonymous"
	// Trapped memory is anonymous, too, but its first touches come to us, who copy
	// the page out of the memory file.
	Trapped Backing = "trapped"
	// MemoryFile is a private mapping of the guest memory file at the same
	// offset; the kernel serves its page faults.
	MemoryFile Backing = "memory file"
	// LoadingSet is a private mapping of the loading set file.
	LoadingSet Backing = "loading set"
	// Image is a private mapping of the pages that are kept in memory once for all
	// clones of the snapshot. First touches of a page that is not there yet come to
	// us, who put it there.
	Image Backing = "image"
)

// Region is a range of guest memory, in bytes from its start.
type Region struct {
	Offset, Len int64
	Backing     Backing
	// At is where in its file the contents begin; the other files hold a region
	// where guest memory has it.
	At int64
}

// Fetch is how the contents of the pages that are brought in ahead are read.
type Fetch string

const (
	FetchNothing Fetch = ""
	// FetchPages reads page by page out of the memory file, by 16 readers.
	FetchPages Fetch = "memory file, page by page, 16 readers"
	// FetchMemory reads the memory file in few large requests past the page cache.
	FetchMemory Fetch = "memory file, large reads, direct"
	// FetchBuffered reads the loading set file whole through the page cache.
	FetchBuffered Fetch = "loading set, one read, buffered"
	// FetchDirect reads the loading set file whole past the page cache.
	FetchDirect Fetch = "loading set, one read, direct"
	// FetchOwn reads the loading set file past the page cache, several chunks in flight,
	// for one clone, which gets a copy of each page.
	FetchOwn Fetch = "loading set, chunks in flight, direct, copied"
	// FetchShared reads the loading set file past the page cache, once for all
	// clones, several chunks in flight; what is not written goes into the image.
	FetchShared Fetch = "loading set, chunks in flight, direct, once for all clones"
	// FetchAheadMemory has the kernel read pages of the memory file into the page
	// cache, in order, while the guest runs.
	FetchAheadMemory Fetch = "memory file, ahead of the guest, page cache"
	// FetchAheadLoading does so with the loading set file.
	FetchAheadLoading Fetch = "loading set, ahead of the guest, page cache"
)

// Plan is what a policy decides for one restore.
type Plan struct {
	Policy thaw.Policy
	// Regions cover guest memory. They are mapped in order: a later one covers
	// what it overlaps of earlier ones.
	Regions []Region
	// Fetch and Extents are what is brought in ahead of the guest, in this order.
	Fetch   Fetch
	Extents []workingset.Extent
	// Record says what this restore learns.
	Record Record
	// Merged is how many pages regions swallowed that another backing would have
	// fitted better, to have fewer mappings.
	Merged int64
}

// Record is what a restore learns for later ones.
type Record string

const (
	RecordNothing Record = ""
	// RecordTrace notes trapped touches, in order.
	RecordTrace Record = "trace"
	// RecordHostPages scans the memory file's page cache.
	RecordHostPages Record = "host pages"
)

// Limits bound a plan.
type Limits struct {
	// Mappings is how many regions a layout may have; vm.max_map_count is 65530.
	Mappings int
}

// DefaultLimits keep far away from the kernel's limit, as each mapping costs
// memory and time.
func DefaultLimits() Limits { return Limits{Mappings: 2048} }

// Known is what is known of a snapshot. [Needs] says what of it a policy looks at.
type Known struct {
	// MemoryBytes is the size of guest memory.
	MemoryBytes int64
	// NonZero are the runs of pages of the memory file that are not zero.
	NonZero []workingset.Run
	// Loading is the loading set laid out for the policy, nil while there is none.
	Loading *workingset.LoadingSet
	// Working is the working set, nil while there is none.
	Working *workingset.Set
	// Alone says that no other clone of the snapshot is there to share pages with.
	Alone bool
}

// InstallPages is how many pages the plan brings in ahead.
func (p Plan) InstallPages() (n int64) {
	for _, e := range p.Extents {
		n += int64(e.Pages)
	}
	return n
}

// Traps says whether first touches of any region come to us.
func (p Plan) Traps() bool { return p.uses(Trapped) || p.MapsImage() }

// MapsImage says that the guest maps an image in memory, by which clones share pages.
func (p Plan) MapsImage() bool { return p.uses(Image) }

func (p Plan) uses(b Backing) bool {
	return slices.ContainsFunc(p.Regions, func(r Region) bool { return r.Backing == b })
}

// Mappings returns the regions as they are when all are mapped: without overlaps,
// ascending.
func (p Plan) Mappings() []Region {
	var out []Region
	for _, r := range p.Regions {
		out = cover(out, r)
	}
	return out
}

// cover maps r over the ascending regions below.
func cover(below []Region, r Region) []Region {
	end := r.Offset + r.Len
	first, _ := slices.BinarySearchFunc(below, r.Offset, func(b Region, at int64) int {
		if b.Offset+b.Len <= at {
			return -1
		}
		return 1
	})
	last := first
	parts := []Region{r}
	for ; last < len(below) && below[last].Offset < end; last++ {
		b := below[last]
		if b.Offset < r.Offset {
			parts = slices.Insert(parts, 0, b.cut(b.Offset, r.Offset))
		}
		if b.Offset+b.Len > end {
			parts = append(parts, b.cut(end, b.Offset+b.Len))
		}
	}
	return slices.Replace(below, first, last, parts...)
}

// cut returns the part of r from start to end.
func (r Region) cut(start, end int64) Region {
	if r.Backing == LoadingSet {
		r.At += start - r.Offset
	}
	r.Offset, r.Len = start, end-start
	return r
}

// String describes p on a few lines for people and golden tests.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy %s: %d mappings, %d pages merged\n", p.Policy, len(p.Mappings()), p.Merged)
	for _, r := range p.Regions {
		fmt.Fprintf(&b, "  map     %#012x + %d KiB  %s", r.Offset, r.Len>>10, r.Backing)
		if r.Backing == LoadingSet {
			fmt.Fprintf(&b, " at %#x", r.At)
		}
		b.WriteByte('\n')
	}
	if p.Record != RecordNothing {
		fmt.Fprintf(&b, "  record  %s\n", p.Record)
	}
	if p.Fetch != FetchNothing {
		fmt.Fprintf(&b, "  fetch   %d pages in %d extents: %s\n", p.InstallPages(), len(p.Extents), p.Fetch)
	}
	return b.String()
}
