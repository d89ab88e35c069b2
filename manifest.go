package thaw

import "time"

// ManifestFormat is the version of [Manifest] this build writes and reads.
const ManifestFormat = 2

// The names of a snapshot's files inside its folder.
const (
	FileManifest = "manifest.json"
	FileState    = "state"
	FileMemory   = "memory"
	// FileRegions lists the runs of the memory file's pages that are not zero.
	FileRegions = "regions"
	// FileWorkingSet is the trace of first touches, FileHostPages what FaaSnap's
	// host page recording saw.
	FileWorkingSet = "working-set"
	FileHostPages  = "host-pages"
	// The loading sets hold pages laid out for one sequential read, one for each
	// policy that has its own order.
	FileLoadingSetReap    = "loading-set-reap"
	FileLoadingSetFaaSnap = "loading-set-faasnap"
	FileLoadingSetThaw    = "loading-set-thaw"
)

// Manifest describes a snapshot. It is written last, so a folder without one
// is not a snapshot.
type Manifest struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// Function and Version are what it is a snapshot of.
	Function string  `json:"function,omitempty"`
	Version  int     `json:"version,omitempty"`
	Machine  Machine `json:"machine"`
	// MemoryBytes is the size of guest memory, and of the memory file.
	MemoryBytes int64 `json:"memory_bytes"`
	// NonZeroPages is how many pages of the memory file are not a hole.
	NonZeroPages int64  `json:"non_zero_pages"`
	Images       Images `json:"images"`
	State        File   `json:"state"`
	Memory       File   `json:"memory"`
	Regions      File   `json:"regions"`
	// MemoryIdentity tells whether the memory file is still the very file that
	// was checksummed.
	MemoryIdentity Identity `json:"memory_identity"`
	// Verity says that the kernel checks each page of the memory file it reads
	// (fs-verity).
	Verity bool `json:"verity"`
}

// Machine is everything about the host and the VMM that a snapshot depends on:
// a snapshot restores only where all of it is equal.
type Machine struct {
	VMM         string `json:"vmm"`
	VMMVersion  string `json:"vmm_version"`
	Accelerator string `json:"accelerator"`
	CPUModel    string `json:"cpu_model"`
	// HostCPU is the host's processor. Under TCG as well: the guest's clock is its
	// time stamp counter.
	HostCPU string `json:"host_cpu"`
	Kernel  string `json:"kernel"`
}

// Images are the content keys of the images that a guest boots from.
type Images struct {
	Kernel    string `json:"kernel"`
	Initramfs string `json:"initramfs"`
	Root      string `json:"root"`
	Code      string `json:"code"`
}

// File is a checksummed file of a snapshot.
type File struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Identity is what changes when a file is replaced or written to (stat(2)).
type Identity struct {
	Inode    uint64 `json:"inode"`
	ChangeNS int64  `json:"change_ns"`
}
