package workingset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"time"

	"thaw"
)

// The working set file, version 2: which pages, but not their contents, which
// are in the loading sets made of it. All numbers are little endian.
//
//	header, 128 bytes:
//	  0    8   magic "thaw-ws\0"
//	  8    4   version, 2
//	  12   4   page size, 4096
//	  16   4   number of pages, n, at least 1
//	  20   4   bound that ended the newest recording, see Bound
//	  24   8   guest memory in pages
//	  32   32  sha256 of the guest memory file that the set belongs to
//	  64   4   CRC-32C of the index
//	  68   4   how it was recorded, see Source
//	  72   4   number of recordings, 1 to 65535
//	  76       zeroes
//	  124  4   CRC-32C of bytes 0 to 123
//	index, 16n bytes, in first-touch order:
//	  0    4   page
//	  4    4   microseconds from the start of the recording, at most 2^32-1
//	  8    2   group, 0 in a trace
//	  10   2   recordings that saw the page, 1 to all
//	  12   1   bit 0: written; the others are zero
//	  13   3   zeroes
const (
	magic      = "thaw-ws\x00"
	version    = 2
	headerSize = 128
	entrySize  = 16
	// MaxPages bounds what a decoder accepts: 4 GiB of guest memory.
	MaxPages = thaw.MaxMemory / thaw.PageSize
)

const flagWritten = 1

// ErrCorrupt says that a file of this package cannot be trusted.
var ErrCorrupt = errors.New("file is corrupt")

func corrupt(what string, err error) error { return fmt.Errorf("%s %w: %w", what, ErrCorrupt, err) }

// Size is the length in bytes of a working set file of n pages.
func Size(n int) int64 { return headerSize + int64(n)*entrySize }

// PagesOf returns how many pages a working set file of size bytes holds.
func PagesOf(size int64) int64 {
	return int64(sort.Search(MaxPages, func(n int) bool { return Size(n+1) > size }))
}

// Encode writes s. It refuses a set that is not valid or empty.
func Encode(w io.Writer, s Set) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("encode a working set: %w", err)
	}
	index := encodeIndex(s.Touches)
	for _, part := range [][]byte{encodeHeader(s, index), index} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write a working set: %w", err)
		}
	}
	return nil
}

func encodeIndex(touches []Touch) []byte {
	b := make([]byte, len(touches)*entrySize)
	for i, t := range touches {
		e := b[i*entrySize:]
		binary.LittleEndian.PutUint32(e, t.Page)
		binary.LittleEndian.PutUint32(e[4:], uint32(min(t.After.Microseconds(), 1<<32-1)))
		binary.LittleEndian.PutUint16(e[8:], t.Group)
		binary.LittleEndian.PutUint16(e[10:], t.Uses)
		if t.Written {
			e[12] = flagWritten
		}
	}
	return b
}

func encodeHeader(s Set, index []byte) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], thaw.PageSize)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(s.Touches)))
	binary.LittleEndian.PutUint32(b[20:], uint32(s.Bound))
	binary.LittleEndian.PutUint64(b[24:], uint64(s.MemoryPages))
	copy(b[32:], s.Memory[:])
	binary.LittleEndian.PutUint32(b[64:], checksum(index))
	binary.LittleEndian.PutUint32(b[68:], uint32(s.Source))
	binary.LittleEndian.PutUint32(b[72:], uint32(s.Recordings))
	binary.LittleEndian.PutUint32(b[124:], checksum(b[:124]))
	return b
}

// Decode reads a whole working set file. Every length is checked before anything
// is allocated; an error wraps [ErrCorrupt].
func Decode(b []byte) (Set, error) {
	s, n, err := decodeHeader(b)
	if err != nil {
		return Set{}, corrupt("working set", err)
	}
	index := b[headerSize:]
	if checksum(index) != binary.LittleEndian.Uint32(b[64:]) {
		return Set{}, corrupt("working set", errors.New("checksum of the index differs"))
	}
	s.Touches = decodeIndex(index, n)
	if err := s.check(); err != nil {
		return Set{}, corrupt("working set", err)
	}
	return s, nil
}

// decodeHeader returns the set without its touches, and their number.
func decodeHeader(b []byte) (s Set, n int, err error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return s, 0, errors.New("no header")
	}
	if checksum(b[:124]) != binary.LittleEndian.Uint32(b[124:]) {
		return s, 0, errors.New("checksum of the header differs")
	}
	if err := checkVersion(b, version); err != nil {
		return s, 0, err
	}
	pages, memory := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint64(b[24:])
	if pages == 0 || pages > MaxPages || memory > MaxPages {
		return s, 0, fmt.Errorf("%d pages of %d are out of range", pages, memory)
	}
	if int64(len(b)) != Size(int(pages)) {
		return s, 0, fmt.Errorf("%d bytes long: %d pages need %d", len(b), pages, Size(int(pages)))
	}
	recordings := binary.LittleEndian.Uint32(b[72:])
	if recordings > 1<<16-1 {
		return s, 0, fmt.Errorf("%d recordings are out of range", recordings)
	}
	s.MemoryPages, s.Recordings = uint32(memory), uint16(recordings)
	s.Bound, s.Source = Bound(binary.LittleEndian.Uint32(b[20:])), Source(binary.LittleEndian.Uint32(b[68:]))
	copy(s.Memory[:], b[32:])
	return s, int(pages), nil
}

// checkVersion looks at what all headers of this package have in common: the
// version at 8 and the page size at 12.
func checkVersion(b []byte, want uint32) error {
	if v := binary.LittleEndian.Uint32(b[8:]); v != want {
		return fmt.Errorf("version %d: this build reads %d", v, want)
	}
	if p := binary.LittleEndian.Uint32(b[12:]); p != thaw.PageSize {
		return fmt.Errorf("page size %d: this build reads %d", p, thaw.PageSize)
	}
	return nil
}

func decodeIndex(b []byte, n int) []Touch {
	touches := make([]Touch, n)
	for i := range touches {
		e := b[i*entrySize:]
		touches[i] = Touch{
			Page:    binary.LittleEndian.Uint32(e),
			After:   time.Duration(binary.LittleEndian.Uint32(e[4:])) * time.Microsecond,
			Group:   binary.LittleEndian.Uint16(e[8:]),
			Uses:    binary.LittleEndian.Uint16(e[10:]),
			Written: e[12]&flagWritten != 0,
		}
	}
	return touches
}

// Checksum is the CRC-32C of a file of this package.
func Checksum(b []byte) uint32 { return checksum(b) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
