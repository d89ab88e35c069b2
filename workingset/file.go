package workingset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"sort"
	"time"

	"thaw"
)

// The working set file, version 1. All numbers are little endian; every part
// begins at a multiple of 4096, so that the file can be read with O_DIRECT in
// one request (REAP, section 5.2.2).
//
//	header, 4096 bytes:
//	  0    8   magic "thaw-ws\0"
//	  8    4   version, 1
//	  12   4   page size, 4096
//	  16   4   number of pages, n
//	  20   4   bound that ended the recording, see Bound
//	  24   8   guest memory in pages
//	  32   32  sha256 of the guest memory file that the set belongs to
//	  64   4   CRC-32C of the index, padding included
//	  68   4   CRC-32C of the data
//	  72       zeroes
//	  4092 4   CRC-32C of bytes 0 to 4091
//	index, 8n bytes and zeroes up to a multiple of 4096: n entries in
//	  first-touch order
//	  0    4   page
//	  4    4   microseconds from the start of the recording, at most 2^32-1
//	data, 4096n bytes: the pages in ascending order
const (
	magic      = "thaw-ws\x00"
	version    = 1
	headerSize = thaw.PageSize
	entrySize  = 8
	// MaxPages bounds what a decoder accepts: 4 GiB of guest memory.
	MaxPages = thaw.MaxMemory / thaw.PageSize
)

// ErrCorrupt says that a working set file cannot be trusted.
var ErrCorrupt = errors.New("working set file is corrupt")

// File is a decoded working set file.
type File struct {
	Set
	runs []Run
	data []byte
}

// Runs returns the set's runs, as [Set.Runs] does.
func (f *File) Runs() []Run { return f.runs }

// Pieces yields each run as its offset in guest memory in bytes and its pages.
// The bytes belong to the buffer given to [Decode].
func (f *File) Pieces() iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		rest := f.data
		for _, r := range f.runs {
			n := int(r.Pages) * thaw.PageSize
			if !yield(int64(r.Page)*thaw.PageSize, rest[:n:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Size is the length in bytes of a file of n pages.
func Size(n int) int64 {
	return headerSize + indexSize(n) + int64(n)*thaw.PageSize
}

func indexSize(n int) int64 {
	return (int64(n)*entrySize + thaw.PageSize - 1) / thaw.PageSize * thaw.PageSize
}

// Encode writes s with the contents of its pages out of memory, which is at
// least s.MemoryPages long. It refuses a set that is not valid or empty.
func Encode(w io.Writer, s Set, memory io.ReaderAt) error {
	if len(s.Touches) == 0 || len(s.Touches) > MaxPages {
		return fmt.Errorf("encode a working set of %d pages: 1 to %d are allowed", len(s.Touches), MaxPages)
	}
	pages := s.ascending()
	if err := s.check(pages); err != nil {
		return fmt.Errorf("encode a working set: %w", err)
	}
	data, err := gather(runs(pages), memory)
	if err != nil {
		return err
	}
	index := encodeIndex(s.Touches)
	for _, part := range [][]byte{encodeHeader(s, index, data), index, data} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write a working set: %w", err)
		}
	}
	return nil
}

func gather(runs []Run, memory io.ReaderAt) ([]byte, error) {
	var data []byte
	for _, r := range runs {
		at, n := len(data), int(r.Pages)*thaw.PageSize
		data = append(data, make([]byte, n)...)
		if got, err := memory.ReadAt(data[at:], int64(r.Page)*thaw.PageSize); got < n {
			return nil, fmt.Errorf("read page %d of guest memory: %w", r.Page, err)
		}
	}
	return data, nil
}

func encodeIndex(touches []Touch) []byte {
	b := make([]byte, indexSize(len(touches)))
	for i, t := range touches {
		binary.LittleEndian.PutUint32(b[i*entrySize:], t.Page)
		binary.LittleEndian.PutUint32(b[i*entrySize+4:], uint32(min(t.After.Microseconds(), 1<<32-1)))
	}
	return b
}

func encodeHeader(s Set, index, data []byte) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], thaw.PageSize)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(s.Touches)))
	binary.LittleEndian.PutUint32(b[20:], uint32(s.Bound))
	binary.LittleEndian.PutUint64(b[24:], uint64(s.MemoryPages))
	copy(b[32:], s.Memory[:])
	binary.LittleEndian.PutUint32(b[64:], checksum(index))
	binary.LittleEndian.PutUint32(b[68:], checksum(data))
	binary.LittleEndian.PutUint32(b[4092:], checksum(b[:4092]))
	return b
}

// Decode reads a whole working set file. Every check of the format is made
// before anything is allocated; an error wraps [ErrCorrupt]. The result refers
// to b.
func Decode(b []byte) (*File, error) {
	s, n, err := decodeHeader(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	index, data := b[headerSize:headerSize+indexSize(n)], b[headerSize+indexSize(n):]
	if checksum(index) != binary.LittleEndian.Uint32(b[64:]) || checksum(data) != binary.LittleEndian.Uint32(b[68:]) {
		return nil, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	s.Touches = decodeIndex(index, n)
	pages := s.ascending()
	if err := s.check(pages); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &File{Set: s, runs: runs(pages), data: data}, nil
}

// decodeHeader returns the set without its touches, and their number.
func decodeHeader(b []byte) (s Set, n int, err error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return s, 0, errors.New("no header")
	}
	if checksum(b[:4092]) != binary.LittleEndian.Uint32(b[4092:]) {
		return s, 0, errors.New("checksum of the header differs")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return s, 0, fmt.Errorf("version %d: this build reads %d", v, version)
	}
	if p := binary.LittleEndian.Uint32(b[12:]); p != thaw.PageSize {
		return s, 0, fmt.Errorf("page size %d: this build reads %d", p, thaw.PageSize)
	}
	pages, memory := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint64(b[24:])
	if pages == 0 || pages > MaxPages || memory > MaxPages {
		return s, 0, fmt.Errorf("%d pages of %d are out of range", pages, memory)
	}
	if int64(len(b)) != Size(int(pages)) {
		return s, 0, fmt.Errorf("%d bytes long: %d pages need %d", len(b), pages, Size(int(pages)))
	}
	s.Bound, s.MemoryPages = Bound(binary.LittleEndian.Uint32(b[20:])), uint32(memory)
	copy(s.Memory[:], b[32:])
	return s, int(pages), nil
}

func decodeIndex(b []byte, n int) []Touch {
	touches := make([]Touch, n)
	for i := range touches {
		touches[i].Page = binary.LittleEndian.Uint32(b[i*entrySize:])
		touches[i].After = time.Duration(binary.LittleEndian.Uint32(b[i*entrySize+4:])) * time.Microsecond
	}
	return touches
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// PagesOf returns how many pages a file of size bytes holds.
func PagesOf(size int64) int64 {
	return int64(sort.Search(MaxPages, func(n int) bool { return Size(n+1) > size }))
}
