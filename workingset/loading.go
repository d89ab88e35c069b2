package workingset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"thaw"
)

// The loading set file, version 2: pages of guest memory in the order in which a
// policy wants them read. All numbers are little endian; header and table
// together, and the data, begin and end at multiples of 4096, so that all of it
// can be read with O_DIRECT (REAP, section 5.2.2).
//
//	header, 4096 bytes:
//	  0    8   magic "thaw-ls\0"
//	  8    4   version, 2
//	  12   4   page size, 4096
//	  16   4   number of extents, n, at least 1
//	  20   4   order, see Order
//	  24   8   guest memory in pages
//	  32   32  sha256 of the guest memory file that the pages are from
//	  64   4   CRC-32C of the table, padding included
//	  68   4   number of pages in the data, p: the sum over the extents
//	  72   4   CRC-32C of the working set file that it was made of
//	  76   4   pages among p that only fill gaps
//	  80       zeroes
//	  4092 4   CRC-32C of bytes 0 to 4091
//	table, 12n + 4c bytes and zeroes up to a multiple of 4096:
//	  n extents in the order of the data, none overlapping another
//	    0  4   first page
//	    4  4   number of pages, at least 1
//	    8  2   group
//	    10 1   bit 0: written; the others are zero
//	    11 1   zero
//	  c = p/128, rounded up, CRC-32C of the data, 512 KiB each, the last shorter
//	data, 4096p bytes
//
// Version 1 had a checksum for each MiB.
const (
	loadingMagic      = "thaw-ls\x00"
	loadingVersion    = 2
	loadingHeaderSize = thaw.PageSize
	extentSize        = 12
	// ChunkBytes is how much data one checksum of a loading set is for: it is also read
	// at once, large enough for a disk, small enough that little is left to do when the
	// last has come.
	ChunkBytes = 1 << 19
)

const chunkPages = ChunkBytes / thaw.PageSize

// Order is how the extents of a loading set are sorted.
type Order uint32

const (
	// OrderAddress: by page.
	OrderAddress Order = iota
	// OrderGroup: by group, then by page.
	OrderGroup
	// OrderTouch: by group; in a group what is not written first, each by page.
	OrderTouch
)

// LoadingSet describes a loading set file: everything but the pages' contents.
type LoadingSet struct {
	// Memory is the sha256 of the guest memory file that the pages are from.
	Memory [32]byte
	// MemoryPages is the size of that file.
	MemoryPages uint32
	// WorkingSet is the CRC-32C of the working set file that it was made of.
	WorkingSet uint32
	Order      Order
	// Extents are in the order of the data.
	Extents []Extent
	// Swallowed is how many pages only fill gaps.
	Swallowed uint32

	sums []uint32 // of the chunks, once encoded
}

// Pages is how many pages the data holds.
func (l *LoadingSet) Pages() (n int64) {
	for _, e := range l.Extents {
		n += int64(e.Pages)
	}
	return n
}

// DataOffset is where in the file the data begins, in bytes.
func (l *LoadingSet) DataOffset() int64 {
	return loadingHeaderSize + tableSize(len(l.Extents), l.Chunks())
}

// Size is the length of the file in bytes.
func (l *LoadingSet) Size() int64 { return l.DataOffset() + l.Pages()*thaw.PageSize }

// Chunks is how many checksums cover the data.
func (l *LoadingSet) Chunks() int { return chunksOf(l.Pages()) }

func chunksOf(pages int64) int { return int((pages + chunkPages - 1) / chunkPages) }

func tableSize(extents, chunks int) int64 {
	n := int64(extents)*extentSize + int64(chunks)*4
	return (n + thaw.PageSize - 1) / thaw.PageSize * thaw.PageSize
}

// MaxLoadingSet is how long the file of a guest with memory bytes can be.
func MaxLoadingSet(memory int64) int64 {
	pages := memory / thaw.PageSize
	return loadingHeaderSize + tableSize(int(pages), chunksOf(pages)) + memory
}

// Verify compares chunk i of the data with its checksum; an error wraps [ErrCorrupt].
func (l *LoadingSet) Verify(i int, chunk []byte) error {
	if checksum(chunk) != l.sums[i] {
		return corrupt("loading set", fmt.Errorf("checksum of chunk %d differs", i))
	}
	return nil
}

// VerifyAll does so with all of the data.
func (l *LoadingSet) VerifyAll(data []byte) error {
	if int64(len(data)) != l.Pages()*thaw.PageSize {
		return corrupt("loading set", fmt.Errorf("%d bytes of data for %d pages", len(data), l.Pages()))
	}
	i := 0
	for chunk := range slices.Chunk(data, ChunkBytes) {
		if err := l.Verify(i, chunk); err != nil {
			return err
		}
		i++
	}
	return nil
}

// ByChunk returns the extents of each chunk, cut where a chunk ends.
func (l *LoadingSet) ByChunk() [][]Extent {
	chunks, room := make([][]Extent, l.Chunks()), uint32(0)
	i := -1
	for _, e := range l.Extents {
		for e.Pages > 0 {
			if room == 0 {
				i, room = i+1, chunkPages
			}
			part := e
			part.Pages = min(e.Pages, room)
			chunks[i] = append(chunks[i], part)
			room -= part.Pages
			e.Page, e.Pages = e.Page+part.Pages, e.Pages-part.Pages
		}
	}
	return chunks
}

// Pieces yields each of extents as its offset in guest memory in bytes and its
// part of data, which holds them one after the other.
func Pieces(extents []Extent, data []byte) iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		for _, e := range extents {
			n := int(e.Pages) * thaw.PageSize
			if !yield(int64(e.Page)*thaw.PageSize, data[:n:n]) {
				return
			}
			data = data[n:]
		}
	}
}

// check wants what an encoder may write.
func (l *LoadingSet) check() error {
	if len(l.Extents) == 0 || l.MemoryPages > MaxPages {
		return fmt.Errorf("%d extents of %d pages are out of range", len(l.Extents), l.MemoryPages)
	}
	if err := l.checkOrder(); err != nil {
		return err
	}
	sorted := slices.SortedFunc(slices.Values(l.Extents), func(a, b Extent) int { return int(int64(a.Page) - int64(b.Page)) })
	end := uint64(0)
	for _, e := range sorted {
		if e.Pages == 0 || uint64(e.Page) < end || uint64(e.Page)+uint64(e.Pages) > uint64(l.MemoryPages) {
			return fmt.Errorf("extent of %d pages at page %d overlaps another or the end of memory", e.Pages, e.Page)
		}
		end = uint64(e.Page) + uint64(e.Pages)
	}
	return nil
}

func (l *LoadingSet) checkOrder() error {
	if l.Order > OrderTouch {
		return fmt.Errorf("order %d is unknown", l.Order)
	}
	for i := range l.Extents[1:] {
		if a, b := l.Extents[i], l.Extents[i+1]; !l.Order.allows(a, b) {
			return fmt.Errorf("extent at page %d comes before that at page %d, against its order", a.Page, b.Page)
		}
	}
	return nil
}

// allows says whether b may come right after a.
func (o Order) allows(a, b Extent) bool {
	switch {
	case o == OrderAddress:
		return a.Page < b.Page
	case a.Group != b.Group:
		return a.Group < b.Group
	case o == OrderTouch && a.Written != b.Written:
		return b.Written
	}
	return a.Page < b.Page
}

// EncodeLoadingSet writes l with the contents of its pages out of memory, which
// is at least l.MemoryPages long.
func EncodeLoadingSet(w io.Writer, l LoadingSet, memory io.ReaderAt) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("encode a loading set: %w", err)
	}
	l.sums = nil
	sum := func(chunk []byte) error { l.sums = append(l.sums, checksum(chunk)); return nil }
	if err := l.gather(memory, sum); err != nil {
		return fmt.Errorf("encode a loading set: %w", err)
	}
	table := l.encodeTable()
	write := func(b []byte) error { _, err := w.Write(b); return err }
	for _, part := range [][]byte{l.encodeHeader(table), table} {
		if err := write(part); err != nil {
			return fmt.Errorf("write a loading set: %w", err)
		}
	}
	if err := l.gather(memory, write); err != nil {
		return fmt.Errorf("write a loading set: %w", err)
	}
	return nil
}

// gather reads the data out of memory, and has do see it chunk by chunk: a set may be
// as long as memory.
func (l *LoadingSet) gather(memory io.ReaderAt, do func(chunk []byte) error) error {
	buf := make([]byte, ChunkBytes)
	for _, extents := range l.ByChunk() {
		at := 0
		for _, e := range extents {
			n := int(e.Pages) * thaw.PageSize
			if got, err := memory.ReadAt(buf[at:at+n], int64(e.Page)*thaw.PageSize); got < n {
				return fmt.Errorf("read page %d of guest memory: %w", e.Page, err)
			}
			at += n
		}
		if err := do(buf[:at]); err != nil {
			return err
		}
	}
	return nil
}

func (l *LoadingSet) encodeTable() []byte {
	b := make([]byte, 0, tableSize(len(l.Extents), len(l.sums)))
	for _, e := range l.Extents {
		flags := byte(0)
		if e.Written {
			flags = flagWritten
		}
		b = binary.LittleEndian.AppendUint32(b, e.Page)
		b = binary.LittleEndian.AppendUint32(b, e.Pages)
		b = binary.LittleEndian.AppendUint16(b, e.Group)
		b = append(b, flags, 0)
	}
	for _, sum := range l.sums {
		b = binary.LittleEndian.AppendUint32(b, sum)
	}
	return b[:cap(b)]
}

func (l *LoadingSet) encodeHeader(table []byte) []byte {
	b := make([]byte, loadingHeaderSize)
	copy(b, loadingMagic)
	binary.LittleEndian.PutUint32(b[8:], loadingVersion)
	binary.LittleEndian.PutUint32(b[12:], thaw.PageSize)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(l.Extents)))
	binary.LittleEndian.PutUint32(b[20:], uint32(l.Order))
	binary.LittleEndian.PutUint64(b[24:], uint64(l.MemoryPages))
	copy(b[32:], l.Memory[:])
	binary.LittleEndian.PutUint32(b[64:], checksum(table))
	binary.LittleEndian.PutUint32(b[68:], uint32(l.Pages()))
	binary.LittleEndian.PutUint32(b[72:], l.WorkingSet)
	binary.LittleEndian.PutUint32(b[76:], l.Swallowed)
	binary.LittleEndian.PutUint32(b[4092:], checksum(b[:4092]))
	return b
}

// HeadSize returns the length in bytes of header and table of the loading set
// file that begins with b, at least 4096 bytes. An error wraps [ErrCorrupt].
func HeadSize(b []byte) (int64, error) {
	extents, pages, err := checkLoadingHeader(b)
	if err != nil {
		return 0, corrupt("loading set", err)
	}
	return loadingHeaderSize + tableSize(extents, chunksOf(pages)), nil
}

// checkLoadingHeader returns the numbers of extents and of pages.
func checkLoadingHeader(b []byte) (extents int, pages int64, err error) {
	if len(b) < loadingHeaderSize || string(b[:8]) != loadingMagic {
		return 0, 0, errors.New("no header")
	}
	if checksum(b[:4092]) != binary.LittleEndian.Uint32(b[4092:]) {
		return 0, 0, errors.New("checksum of the header differs")
	}
	if err := checkVersion(b, loadingVersion); err != nil {
		return 0, 0, err
	}
	n, p, memory := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[68:]), binary.LittleEndian.Uint64(b[24:])
	if n == 0 || n > p || p > MaxPages || memory > MaxPages {
		return 0, 0, fmt.Errorf("%d extents with %d pages of %d are out of range", n, p, memory)
	}
	return int(n), int64(p), nil
}

// DecodeLoadingSet reads header and table from the beginning of a loading set
// file. Every length is checked before anything is allocated; an error wraps
// [ErrCorrupt].
func DecodeLoadingSet(b []byte) (*LoadingSet, error) {
	extents, pages, err := checkLoadingHeader(b)
	if err != nil {
		return nil, corrupt("loading set", err)
	}
	end := loadingHeaderSize + tableSize(extents, chunksOf(pages))
	if int64(len(b)) < end {
		return nil, corrupt("loading set", errors.New("the table is cut off"))
	}
	table := b[loadingHeaderSize:end]
	if checksum(table) != binary.LittleEndian.Uint32(b[64:]) {
		return nil, corrupt("loading set", errors.New("checksum of the table differs"))
	}
	l := &LoadingSet{
		MemoryPages: uint32(binary.LittleEndian.Uint64(b[24:])), Order: Order(binary.LittleEndian.Uint32(b[20:])),
		WorkingSet: binary.LittleEndian.Uint32(b[72:]), Swallowed: binary.LittleEndian.Uint32(b[76:]),
	}
	copy(l.Memory[:], b[32:])
	l.decodeTable(table, extents, chunksOf(pages))
	if err := l.check(); err != nil {
		return nil, corrupt("loading set", err)
	}
	if l.Pages() != pages {
		return nil, corrupt("loading set", fmt.Errorf("extents of %d pages for %d pages of data", l.Pages(), pages))
	}
	return l, nil
}

func (l *LoadingSet) decodeTable(b []byte, extents, chunks int) {
	l.Extents = make([]Extent, extents)
	for i := range l.Extents {
		e := b[i*extentSize:]
		l.Extents[i] = Extent{
			Run:     Run{Page: binary.LittleEndian.Uint32(e), Pages: binary.LittleEndian.Uint32(e[4:])},
			Group:   binary.LittleEndian.Uint16(e[8:]),
			Written: e[10]&flagWritten != 0,
		}
	}
	l.sums = make([]uint32, chunks)
	for i := range l.sums {
		l.sums[i] = binary.LittleEndian.Uint32(b[extents*extentSize+4*i:])
	}
}
