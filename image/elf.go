package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// programHeaders returns the types of the program headers of an x86-64 Linux
// program from its first bytes (elf(5), Elf64_Ehdr and Elf64_Phdr). It reads
// them itself because debug/elf wants the section headers too, which are at the
// end of the file.
func programHeaders(head []byte) ([]elf.ProgType, error) {
	var h elf.Header64
	if err := binary.Read(bytes.NewReader(head), binary.LittleEndian, &h); err != nil {
		return nil, fmt.Errorf("it is too short")
	}
	switch {
	case string(h.Ident[:4]) != elf.ELFMAG:
		return nil, fmt.Errorf("it is no ELF file")
	case elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Machine(h.Machine) != elf.EM_X86_64:
		return nil, fmt.Errorf("it is for %s", elf.Machine(h.Machine))
	case elf.Type(h.Type) != elf.ET_EXEC && elf.Type(h.Type) != elf.ET_DYN:
		return nil, fmt.Errorf("it is of type %s", elf.Type(h.Type))
	case int(h.Phentsize) != binary.Size(elf.Prog64{}):
		return nil, fmt.Errorf("its program headers have %d bytes", h.Phentsize)
	}
	size := uint64(h.Phnum) * uint64(h.Phentsize)
	if h.Phoff > uint64(len(head)) || size > uint64(len(head))-h.Phoff {
		return nil, fmt.Errorf("its program headers are not at its beginning")
	}
	progs := make([]elf.Prog64, h.Phnum)
	if err := binary.Read(bytes.NewReader(head[h.Phoff:]), binary.LittleEndian, progs); err != nil {
		return nil, fmt.Errorf("read program headers: %w", err)
	}
	types := make([]elf.ProgType, len(progs))
	for i, p := range progs {
		types[i] = elf.ProgType(p.Type)
	}
	return types, nil
}
