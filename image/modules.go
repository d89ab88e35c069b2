package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// guestModules are what the guest needs: its disks and its control channel, and
// the file systems of its root.
func guestModules() []string {
	return []string{"virtio_pci", "virtio_blk", "virtio_console", "erofs", "overlay"}
}

const (
	// maxModuleBytes bounds one module; the largest here has 1 MB.
	maxModuleBytes = 32 << 20
	// maxModules bounds what a chain of dependencies may pull in.
	maxModules = 100
)

// module is a kernel module, uncompressed.
type module struct {
	name    string
	content []byte
}

// loadOrder reads the wanted modules and all they depend on from the folder of
// a kernel's modules. Each comes after what it depends on. A wanted module that
// is built into the kernel is left out.
func loadOrder(dir string, want []string) ([]module, error) {
	o := orderer{files: map[string]string{}, seen: map[string]bool{}}
	if err := o.index(dir); err != nil {
		return nil, err
	}
	builtin, err := builtinModules(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range want {
		if _, ok := o.files[name]; !ok && builtin[name] {
			continue
		}
		if err := o.visit(name); err != nil {
			return nil, err
		}
	}
	return o.order, nil
}

// orderer walks the dependencies depth first.
type orderer struct {
	files map[string]string
	seen  map[string]bool
	order []module
}

// index finds the file of every module.
func (o *orderer) index(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if name, _, ok := strings.Cut(d.Name(), ".ko"); ok {
			o.files[moduleName(name)] = path
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list kernel modules: %w", err)
	}
	return nil
}

// moduleName spells a name as depends= does: files may have - for _.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

func (o *orderer) visit(name string) error {
	if o.seen[name] {
		return nil
	}
	o.seen[name] = true
	path, ok := o.files[name]
	if !ok {
		return fmt.Errorf("the kernel package has no module %s", name)
	}
	if len(o.seen) > maxModules {
		return fmt.Errorf("kernel modules depend on more than %d others", maxModules)
	}
	content, err := readModule(path)
	if err != nil {
		return fmt.Errorf("read module %s: %w", name, err)
	}
	deps, err := dependencies(content)
	if err != nil {
		return fmt.Errorf("read module %s: %w", name, err)
	}
	for _, d := range deps {
		if err := o.visit(d); err != nil {
			return fmt.Errorf("%w (needed by %s)", err, name)
		}
	}
	o.order = append(o.order, module{name, content})
	return nil
}

// readModule returns a module's content without its compression.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := moduleReader(f)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxModuleBytes+1))
	if err == nil && len(b) > maxModuleBytes {
		err = fmt.Errorf("it has more than %d bytes", maxModuleBytes)
	}
	return b, err
}

func moduleReader(f *os.File) (io.Reader, error) {
	switch ext := filepath.Ext(f.Name()); ext {
	case ".ko":
		return f, nil
	case ".xz":
		return xz.NewReader(f)
	case ".zst":
		// Synchronous decoding starts no goroutine, so there is nothing to close.
		return zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModuleBytes))
	default:
		return nil, fmt.Errorf("it is compressed in an unknown way (%s): .xz and .zst are known", ext)
	}
}

// dependencies returns the names in a module's depends= (Linux,
// scripts/mod/modpost.c, add_depends).
func dependencies(content []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil || s.Size > maxModuleBytes {
		return nil, fmt.Errorf("it has no usable .modinfo section")
	}
	info, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read .modinfo: %w", err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if deps, ok := strings.CutPrefix(field, "depends="); ok && deps != "" {
			return strings.Split(moduleName(deps), ","), nil
		}
	}
	return nil, nil
}

// builtinModules reads modules.builtin (Linux, Documentation/kbuild/kbuild.rst).
func builtinModules(dir string) (map[string]bool, error) {
	found := map[string]bool{}
	b, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("list built-in modules: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(filepath.Base(strings.TrimSpace(line)), ".ko")
		found[moduleName(name)] = true
	}
	return found, nil
}
