package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"thaw"
	"thaw/pagecache"
	"thaw/plan"
	"thaw/resident"
	"thaw/restore"
	"thaw/snapshot"
	"thaw/workingset"
)

// Sources are where the pages of restores come from.
type Sources struct {
	Snapshots *snapshot.Store
	Resident  *resident.Cache
}

// Begin makes the plan of policy for m and begins to bring pages in. With record
// it is made as if there were no set yet. release gives back what clones share,
// once no page of it is needed any more. An error that wraps
// [workingset.ErrCorrupt] says that the set of the policy cannot be used.
func (s Sources) Begin(m thaw.Manifest, policy thaw.Policy, record bool) (_ *restore.Prefetch, release func(), err error) {
	need := plan.Needs(policy)
	if record {
		need.Loading, need.Working = "", ""
	}
	k, c, release, err := s.know(m, need)
	if err != nil {
		return nil, nil, err
	}
	prefetch, err := s.begin(policy, k, c)
	if err != nil {
		release()
		return nil, nil, err
	}
	return prefetch, release, nil
}

func (s Sources) begin(policy thaw.Policy, k plan.Known, c restore.Contents) (*restore.Prefetch, error) {
	p, err := plan.New(policy, k, plan.DefaultLimits())
	if err != nil {
		return nil, err
	}
	if p.Record == plan.RecordHostPages {
		// What is in the page cache already could not be told from what comes.
		if err := evict(c.Memory); err != nil {
			return nil, err
		}
	}
	return restore.Begin(p, c)
}

func evict(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("record host pages: %w", err)
	}
	defer f.Close()
	return pagecache.Evict(f)
}

// know reads what a plan needs of m's files. A set that is not there yet is left
// out.
func (s Sources) know(m thaw.Manifest, need plan.Need) (k plan.Known, c restore.Contents, release func(), err error) {
	k.MemoryBytes, c.Memory, release = m.MemoryBytes, s.Snapshots.Path(m, thaw.FileMemory), func() {}
	if need.NonZero {
		if k.NonZero, err = s.Snapshots.NonZero(m); err != nil {
			return k, c, release, err
		}
	}
	switch {
	case need.Loading == thaw.FileLoadingSetThaw:
		release, err = s.share(m, &k, &c)
	case need.Loading != "":
		c.Loading = s.Snapshots.Path(m, need.Loading)
		err = s.loadingSet(m, need.Loading, &k)
		c.Set = k.Loading
	case need.Working != "":
		var set workingset.Set
		set, err = s.Snapshots.WorkingSet(m, need.Working)
		k.Working = &set
	}
	if errors.Is(err, fs.ErrNotExist) {
		k.Loading, k.Working, err = nil, nil, nil
	}
	return k, c, release, err
}

// loadingSet reads what the loading set called name holds.
func (s Sources) loadingSet(m thaw.Manifest, name string, k *plan.Known) error {
	l, err := s.Snapshots.LoadingSet(m, name)
	if err != nil {
		return err
	}
	k.Loading = l.LoadingSet
	return l.Close()
}

// share gets the image that clones of m share. The first of them begins to load
// it.
func (s Sources) share(m thaw.Manifest, k *plan.Known, c *restore.Contents) (release func(), err error) {
	key, err := s.Snapshots.Key(m, thaw.FileLoadingSetThaw)
	if err != nil {
		return func() {}, err
	}
	image, release, err := s.Resident.Get(key, func() (*resident.Image, error) {
		c.First = true
		return s.image(m)
	})
	if err != nil {
		return func() {}, err
	}
	c.Image, k.Loading = image, image.Set()
	return release, nil
}

func (s Sources) image(m thaw.Manifest) (*resident.Image, error) {
	l, err := s.Snapshots.LoadingSet(m, thaw.FileLoadingSetThaw)
	if err != nil {
		return nil, err
	}
	image, err := resident.New(s.Snapshots.Path(m, thaw.FileMemory), m.MemoryBytes)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	image.Load(l.LoadingSet, l.File)
	return image, nil
}
