package qemu

import "testing"

func TestCodeBuffer(t *testing.T) {
	const maps = `55d0c2a00000-55d0c2f00000 r-xp 00000000 fe:00 1234 /usr/bin/qemu-system-x86_64
7fbfcc000000-7fc00bfff000 rwxp 00000000 00:00 0 
7fc00c000000-7fc01c000000 rw-p 00000000 00:01 77 /memfd:memory-backend-memfd (deleted)
`
	if at, ok := codeBuffer(maps); !ok || at != 0x7fbfcc000000 {
		t.Errorf("%#x, %v", at, ok)
	}
	for _, none := range []string{"", "junk\n", "7fbfcc000000-7fbfcc001000 rwxp 00000000 00:00 0 \n"} {
		if at, ok := codeBuffer(none); ok {
			t.Errorf("%#x in %q", at, none)
		}
	}
}
