package workingset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"thaw"
)

// The regions file, version 1: the runs of a memory file's pages that are not
// zero. It is checked by the checksum in the snapshot's manifest. All numbers are
// little endian.
//
//	0   8   magic "thaw-nz\0"
//	8   4   version, 1
//	12  4   page size, 4096
//	16  4   number of runs, n
//	20  4   guest memory in pages
//	24  8n  the runs, ascending and not touching: first page, number of pages
const (
	regionsMagic   = "thaw-nz\x00"
	regionsVersion = 1
	regionsHeader  = 24
	runSize        = 8
)

// MaxRegions is how long the regions file of a guest with memory bytes can be.
func MaxRegions(memory int64) int64 { return regionsHeader + memory/thaw.PageSize*runSize }

// EncodeRegions writes the runs of non-zero pages of a memory file of pages pages.
func EncodeRegions(w io.Writer, pages uint32, nonZero []Run) error {
	if err := checkRegions(pages, nonZero); err != nil {
		return fmt.Errorf("encode regions: %w", err)
	}
	b := append(make([]byte, 0, regionsHeader+len(nonZero)*runSize), regionsMagic...)
	for _, v := range []uint32{regionsVersion, thaw.PageSize, uint32(len(nonZero)), pages} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, r := range nonZero {
		b = binary.LittleEndian.AppendUint32(b, r.Page)
		b = binary.LittleEndian.AppendUint32(b, r.Pages)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write regions: %w", err)
	}
	return nil
}

func checkRegions(pages uint32, runs []Run) error {
	end := int64(-1)
	for _, r := range runs {
		if r.Pages == 0 || int64(r.Page) <= end || int64(r.Page)+int64(r.Pages) > int64(pages) {
			return fmt.Errorf("run of %d pages at page %d is out of place", r.Pages, r.Page)
		}
		end = int64(r.Page) + int64(r.Pages)
	}
	return nil
}

// DecodeRegions reads a whole regions file. Every length is checked before
// anything is allocated; an error wraps [ErrCorrupt].
func DecodeRegions(b []byte) (pages uint32, nonZero []Run, err error) {
	if len(b) < regionsHeader || string(b[:8]) != regionsMagic {
		return 0, nil, corrupt("regions", errors.New("no header"))
	}
	if err := checkVersion(b, regionsVersion); err != nil {
		return 0, nil, corrupt("regions", err)
	}
	n := binary.LittleEndian.Uint32(b[16:])
	if int64(len(b)) != regionsHeader+int64(n)*runSize {
		return 0, nil, corrupt("regions", fmt.Errorf("%d bytes long for %d runs", len(b), n))
	}
	pages, nonZero = binary.LittleEndian.Uint32(b[20:]), make([]Run, n)
	for i := range nonZero {
		e := b[regionsHeader+i*runSize:]
		nonZero[i] = Run{Page: binary.LittleEndian.Uint32(e), Pages: binary.LittleEndian.Uint32(e[4:])}
	}
	if err := checkRegions(pages, nonZero); err != nil {
		return 0, nil, corrupt("regions", err)
	}
	return pages, nonZero, nil
}
