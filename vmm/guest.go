package vmm

// Guest is the blueprint of a virtual machine: what does not change between
// its first boot and the last clone of its snapshot.
type Guest struct {
	// Kernel is an uncompressed ELF kernel, Initramfs its first file system.
	Kernel, Initramfs string
	// MemoryBytes is the size of guest memory.
	MemoryBytes int64
	// Disks are read-only disk images, in the order the guest sees them.
	Disks []string
}
