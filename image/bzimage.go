package image

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// Offsets in the setup header of a bzImage and the oldest protocol that has the
// payload fields (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel
// Header").
const (
	setupSectsOffset    = 0x1f1
	magicOffset         = 0x202
	protocolOffset      = 0x206
	payloadOffset       = 0x248
	payloadLengthOffset = 0x24c
	setupHeaderEnd      = 0x250
	minProtocol         = 0x208
	sectorSize          = 512
)

const (
	// maxKernelBytes bounds a compressed kernel; Debian's are 10 to 15 MB.
	maxKernelBytes = 128 << 20
	// maxVmlinuxBytes bounds an uncompressed one; Debian's are 50 to 80 MB.
	maxVmlinuxBytes = 512 << 20
)

// vmlinux returns the ELF kernel that a bzImage carries compressed. A VMM starts
// it directly by PVH, which spares the guest from decompressing it.
func vmlinux(bzImage []byte) ([]byte, error) {
	payload, err := bzImagePayload(bzImage)
	if err != nil {
		return nil, err
	}
	b, err := decompressKernel(payload, maxVmlinuxBytes)
	if err != nil {
		return nil, err
	}
	return b, checkPVH(b)
}

func bzImagePayload(b []byte) ([]byte, error) {
	if len(b) < setupHeaderEnd {
		return nil, fmt.Errorf("kernel is no bzImage: it has only %d bytes", len(b))
	}
	if string(b[magicOffset:magicOffset+4]) != "HdrS" {
		return nil, fmt.Errorf("kernel is no bzImage: the setup header has no magic HdrS")
	}
	if v := binary.LittleEndian.Uint16(b[protocolOffset:]); v < minProtocol {
		return nil, fmt.Errorf("kernel has boot protocol %d.%02d: 2.08 or newer is needed", v>>8, v&0xff)
	}
	sects := uint64(b[setupSectsOffset])
	if sects == 0 {
		sects = 4 // boot.rst: "for backwards compatibility"
	}
	start := (sects+1)*sectorSize + uint64(binary.LittleEndian.Uint32(b[payloadOffset:]))
	length := uint64(binary.LittleEndian.Uint32(b[payloadLengthOffset:]))
	if start > uint64(len(b)) || length > uint64(len(b))-start {
		return nil, fmt.Errorf("kernel is cut short: its payload of %d bytes at %d does not fit in %d bytes", length, start, len(b))
	}
	return b[start : start+length], nil
}

// decompressKernel undoes what the kernel's build did (Linux,
// scripts/Makefile.lib): each format but gzip is followed by the uncompressed
// size in 4 bytes, little endian.
func decompressKernel(p []byte, limit int64) ([]byte, error) {
	switch {
	case bytes.HasPrefix(p, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(p))
		return readKernel("gzip", r, err, -1, limit)
	case len(p) < 8:
		return nil, fmt.Errorf("kernel payload has only %d bytes", len(p))
	}
	body, size := p[:len(p)-4], int64(binary.LittleEndian.Uint32(p[len(p)-4:]))
	if size > limit {
		return nil, fmt.Errorf("kernel claims %d bytes uncompressed: at most %d are accepted", size, limit)
	}
	switch {
	case bytes.HasPrefix(p, []byte{0x02, 0x21, 0x4c, 0x18}):
		return readKernel("lz4", lz4.NewReader(bytes.NewReader(body)), nil, size, limit)
	case bytes.HasPrefix(p, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxVmlinuxBytes))
		if err == nil {
			defer r.Close()
		}
		return readKernel("zstd", r, err, size, limit)
	case bytes.HasPrefix(p, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		r, err := xz.NewReader(bytes.NewReader(body))
		return readKernel("xz", r, err, size, limit)
	}
	return nil, fmt.Errorf("kernel is compressed in an unknown way (it begins with %x): gzip, lz4, xz and zstd are known", p[:4])
}

// readKernel reads r to its end, which must come after size bytes unless size
// is negative, and never after more than limit.
func readKernel(format string, r io.Reader, err error, size, limit int64) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("decompress %s kernel: %w", format, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("decompress %s kernel: %w", format, err)
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("decompress %s kernel: it has more than %d bytes", format, limit)
	case size >= 0 && int64(len(b)) != size:
		return nil, fmt.Errorf("decompress %s kernel: it has %d bytes and not %d", format, len(b), size)
	}
	return b, nil
}

// notePVH is XEN_ELFNOTE_PHYS32_ENTRY, the PVH entry point (Xen,
// public/elfnote.h).
const notePVH = 18

// checkPVH returns an error unless b is an ELF kernel with a PVH entry.
func checkPVH(b []byte) error {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("uncompressed kernel is no ELF file: %w", err)
	}
	if f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("uncompressed kernel is for %s and not for x86-64", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(p.Open(), 1<<20))
		if err == nil && hasNote(notes, "Xen\x00", notePVH) {
			return nil
		}
	}
	return fmt.Errorf("uncompressed kernel has no PVH entry: it was built without CONFIG_PVH")
}

// hasNote looks for a note in the form of elf(5), "Notes (Nhdr)".
func hasNote(b []byte, name string, typ uint32) bool {
	for len(b) >= 12 {
		n := uint64(binary.LittleEndian.Uint32(b))
		d := uint64(binary.LittleEndian.Uint32(b[4:]))
		end := 12 + (n+3)&^3 + (d+3)&^3
		if end > uint64(len(b)) {
			return false
		}
		if binary.LittleEndian.Uint32(b[8:]) == typ && string(b[12:12+n]) == name {
			return true
		}
		b = b[end:]
	}
	return false
}
