package runtime

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"thaw"
)

// TestReseed looks at the file as other tools see it.
func TestReseed(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(reseed()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Flags&elf.PF_X != 0 {
			t.Errorf("segment %s can be executed", p.Type)
		}
	}
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 || len(f.Progs) != 4 {
		t.Errorf("it is %s for %s with %d segments", f.Type, f.Machine, len(f.Progs))
	}
}

// TestReseedCalls has Node.js load the file, and a linker that knows no RAND_poll.
func TestReseedCalls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reseed.so")
	if err := os.WriteFile(file, Files()[thaw.RuntimeNode]["reseed.so"], 0o644); err != nil {
		t.Fatal(err)
	}
	for program, c := range map[string]struct{ code, want string }{
		"node":    {"try { process.dlopen({ exports: {} }, process.argv[1]) } catch (e) { console.log(e.message) }", "Module did not self-register: '" + file + "'."},
		"python3": {"import ctypes, sys\ntry: ctypes.CDLL(sys.argv[1])\nexcept OSError as e: print(e)", file + ": undefined symbol: RAND_poll"},
	} {
		option := map[string]string{"node": "-e", "python3": "-c"}[program]
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("%s is not installed: apt-get install %s", program, program)
			continue
		}
		out, err := exec.CommandContext(t.Context(), program, option, c.code, file).CombinedOutput()
		if err != nil || string(bytes.TrimSpace(out)) != c.want {
			t.Errorf("%s: %v: %q, want %q", program, err, out, c.want)
		}
	}
}
