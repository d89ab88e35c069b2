//go:build linux && amd64

package remote

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The scratch mapping in the target:
//
//	offset 0            code, see loop (codeSize bytes)
//	offset codeSize     one entry per call, little endian:
//	                      0  number
//	                      8  six arguments, 8 bytes each
//	                      56 result; notRun before the call
const (
	codeSize  = 128
	entrySize = 64
	// notRun is no result a kernel returns: an errno is above -4096, an
	// address is far below.
	notRun = ^uint64(1 << 20)
)

// loop is position-independent x86-64 code. On entry rbx points at the first
// entry and rbp past the last one. It stops at a breakpoint after the last
// call or after the first one that failed.
//
//	next: cmp  rbx, rbp         48 39 eb
//	      je   done             74 2f
//	      mov  rax, [rbx]       48 8b 03
//	      mov  rdi, [rbx+8]     48 8b 7b 08
//	      mov  rsi, [rbx+16]    48 8b 73 10
//	      mov  rdx, [rbx+24]    48 8b 53 18
//	      mov  r10, [rbx+32]    4c 8b 53 20
//	      mov  r8,  [rbx+40]    4c 8b 43 28
//	      mov  r9,  [rbx+48]    4c 8b 4b 30
//	      syscall               0f 05
//	      mov  [rbx+56], rax    48 89 43 38
//	      cmp  rax, -4095       48 3d 01 f0 ff ff
//	      jae  done             73 06
//	      add  rbx, 64          48 83 c3 40
//	      jmp  next             eb cc
//	done: int3                  cc
var loop = [...]byte{
	0x48, 0x39, 0xeb,
	0x74, 0x2f,
	0x48, 0x8b, 0x03,
	0x48, 0x8b, 0x7b, 0x08,
	0x48, 0x8b, 0x73, 0x10,
	0x48, 0x8b, 0x53, 0x18,
	0x4c, 0x8b, 0x53, 0x20,
	0x4c, 0x8b, 0x43, 0x28,
	0x4c, 0x8b, 0x4b, 0x30,
	0x0f, 0x05,
	0x48, 0x89, 0x43, 0x38,
	0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff,
	0x73, 0x06,
	0x48, 0x83, 0xc3, 0x40,
	0xeb, 0xcc,
	0xcc,
}

func scratchSize(calls int) uintptr {
	n := codeSize + calls*entrySize
	page := 4096
	return uintptr((n + page - 1) / page * page)
}

// encode returns the bytes of the scratch mapping for calls.
func encode(calls []Call) []byte {
	b := make([]byte, codeSize, codeSize+len(calls)*entrySize)
	copy(b, loop[:])
	for _, c := range calls {
		b = binary.LittleEndian.AppendUint64(b, uint64(c.Nr))
		for _, a := range c.Args {
			b = binary.LittleEndian.AppendUint64(b, uint64(a))
		}
		b = binary.LittleEndian.AppendUint64(b, notRun)
	}
	return b
}

// decode returns the results in a table, up to the first that failed.
func decode(table []byte) ([]uintptr, error) {
	var results []uintptr
	for i := 0; i*entrySize < len(table); i++ {
		r := binary.LittleEndian.Uint64(table[i*entrySize+56:])
		if r == notRun {
			return results, ErrGone
		}
		if r > ^uint64(4095) {
			return results, &CallError{Index: i, Errno: unix.Errno(-r)}
		}
		results = append(results, uintptr(r))
	}
	return results, nil
}
