package runtime

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// reseed returns a shared object without a line of code: its list of constructors
// has one entry, which the dynamic linker resolves to OpenSSL's RAND_poll. Whoever
// loads it has the OpenSSL of its process reseed its primary generator from the
// kernel, whereupon the generators of all threads reseed themselves from that
// (RAND(7), "reseeding"). Node.js has no other way to ask for that: what it knows of
// OpenSSL's generators is part of every snapshot, and would go on in all clones
// alike. It belongs at /var/runtime/reseed.so of the root disk.
//
// The layout is one page read by the linker and one it writes to:
//
//	0x0000  file header, 4 program headers
//	0x0200  symbols: none, RAND_poll      0x0240  strings
//	0x0280  relocation of the constructor
//	0x1000  constructors (one)            0x1010  dynamic section
func reseed() []byte {
	b := make([]byte, objectSize)
	put(b, 0, header())
	put(b, binary.Size(elf.Header64{}), programs())
	put(b, symbolsAt, []elf.Sym64{{}, {Name: 1, Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_NOTYPE)}})
	copy(b[stringsAt:], constructor)
	put(b, relocationAt, elf.Rela64{Off: constructorsAt, Info: elf.R_INFO(1, uint32(elf.R_X86_64_64))})
	put(b, dynamicAt, dynamic())
	return b
}

// constructor is the string table: nothing, then the name of the symbol.
const constructor = "\x00RAND_poll\x00"

// Where the parts are, in the file as in memory.
const (
	symbolsAt      = 0x200
	stringsAt      = 0x240
	relocationAt   = 0x280
	readOnlySize   = 0x2a0
	constructorsAt = 0x1000
	dynamicAt      = 0x1010
	objectSize     = 0x1200
)

func header() elf.Header64 {
	h := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: uint64(binary.Size(elf.Header64{})), Ehsize: uint16(binary.Size(elf.Header64{})),
		Phentsize: uint16(binary.Size(elf.Prog64{})), Phnum: uint16(len(programs())), Shentsize: uint16(binary.Size(elf.Section64{})),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	return h
}

// programs are the segments. Without the last one the linker would make every
// stack of the process executable.
func programs() []elf.Prog64 {
	segment := func(kind elf.ProgType, flags elf.ProgFlag, at, size, align uint64) elf.Prog64 {
		return elf.Prog64{Type: uint32(kind), Flags: uint32(flags), Off: at, Vaddr: at, Paddr: at, Filesz: size, Memsz: size, Align: align}
	}
	return []elf.Prog64{
		segment(elf.PT_LOAD, elf.PF_R, 0, readOnlySize, 0x1000),
		segment(elf.PT_LOAD, elf.PF_R|elf.PF_W, constructorsAt, objectSize-constructorsAt, 0x1000),
		segment(elf.PT_DYNAMIC, elf.PF_R|elf.PF_W, dynamicAt, uint64(binary.Size(dynamic())), 8),
		segment(elf.PT_GNU_STACK, elf.PF_R|elf.PF_W, 0, 0, 16),
	}
}

func dynamic() []elf.Dyn64 {
	entry := func(tag elf.DynTag, value int) elf.Dyn64 { return elf.Dyn64{Tag: int64(tag), Val: uint64(value)} }
	return []elf.Dyn64{
		entry(elf.DT_SYMTAB, symbolsAt), entry(elf.DT_SYMENT, elf.Sym64Size),
		entry(elf.DT_STRTAB, stringsAt), entry(elf.DT_STRSZ, len(constructor)),
		entry(elf.DT_RELA, relocationAt), entry(elf.DT_RELASZ, binary.Size(elf.Rela64{})), entry(elf.DT_RELAENT, binary.Size(elf.Rela64{})), //nolint:misspell // ELF's word
		entry(elf.DT_INIT_ARRAY, constructorsAt), entry(elf.DT_INIT_ARRAYSZ, 8),
		entry(elf.DT_NULL, 0),
	}
}

// put writes v, of a fixed size, at an offset of b.
func put(b []byte, at int, v any) {
	var w bytes.Buffer
	_ = binary.Write(&w, binary.LittleEndian, v) // a buffer takes everything
	copy(b[at:], w.Bytes())
}
