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
	if err == nil && p.Record == plan.RecordHostPages {
		// What is in the page cache already could not be told from what comes.
		err = evict(c.Memory)
	}
	if err != nil {
		c.Close()
		return nil, err
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

// know reads what a plan needs of m's files, after the reading of a loading set has begun.
func (s Sources) know(m thaw.Manifest, need plan.Need) (k plan.Known, c restore.Contents, release func(), err error) {
	k, c, release, err = s.sets(m, need)
	if err != nil || !need.NonZero {
		return k, c, release, err
	}
	if k.NonZero, err = s.Snapshots.NonZero(m); err != nil {
		c.Close()
		release()
	}
	return k, c, release, err
}

// sets reads the set that a plan needs. One that is not there yet is left out.
func (s Sources) sets(m thaw.Manifest, need plan.Need) (k plan.Known, c restore.Contents, release func(), err error) {
	k.MemoryBytes, c.Memory, release = m.MemoryBytes, s.Snapshots.Path(m, thaw.FileMemory), func() {}
	switch {
	case need.Loading == thaw.FileLoadingSetThaw:
		release, err = s.share(m, &k, &c)
	case need.Loading != "":
		c.Loading, c.Set, err = s.loadingSet(m, need.Loading)
		k.Loading = c.Set
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

// loadingSet opens the loading set called name.
func (s Sources) loadingSet(m thaw.Manifest, name string) (*os.File, *workingset.LoadingSet, error) {
	l, err := s.Snapshots.LoadingSet(m, name)
	if err != nil {
		return nil, nil, err
	}
	return l.File, l.LoadingSet, nil
}

// share gets the image that clones of m share. The first has its loading set read for
// itself; the second begins to load the image. Where that failed, each is like the first.
func (s Sources) share(m thaw.Manifest, k *plan.Known, c *restore.Contents) (release func(), err error) {
	nothing := func() {}
	set, err := s.Snapshots.SetFile(m, thaw.FileLoadingSetThaw)
	if err != nil {
		return nothing, err
	}
	image, alone, release, err := s.Resident.Get(set.Key(), func() (*resident.Image, error) {
		return resident.New(s.Snapshots.Path(m, thaw.FileMemory), m.MemoryBytes)
	})
	if err != nil {
		return nothing, err
	}
	if alone = alone || image.LoadFailed(); alone {
		err = s.own(m, c)
	} else {
		err = s.load(m, image, c)
	}
	if err != nil {
		release()
		return nothing, err
	}
	c.Image, k.Alone, k.Loading = image, alone, c.Pages().Set()
	return release, nil
}

func (s Sources) own(m thaw.Manifest, c *restore.Contents) error {
	l, err := s.Snapshots.LoadingSet(m, thaw.FileLoadingSetThaw)
	if err != nil {
		return err
	}
	c.Own, err = resident.NewOwn(s.Resident, l.LoadingSet, l.File)
	return err
}

func (s Sources) load(m thaw.Manifest, image *resident.Image, c *restore.Contents) (err error) {
	c.Load, c.First, err = image.Load(s.Resident, func() (*workingset.LoadingSet, *os.File, error) {
		l, err := s.Snapshots.LoadingSet(m, thaw.FileLoadingSetThaw)
		if err != nil {
			return nil, nil, err
		}
		return l.LoadingSet, l.File, nil
	})
	return err
}
