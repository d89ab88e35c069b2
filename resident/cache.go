package resident

import "sync"

// Cache hands out the images of snapshots that are in use: clones of one snapshot
// that are alive at the same time share one. The zero value is empty and ready;
// its methods may be called concurrently.
type Cache struct {
	mu     sync.Mutex
	images map[string]*entry
}

type entry struct {
	once  sync.Once
	image *Image
	err   error
	users int // protected by the cache's mu
}

// Get returns the image called key, made by open if nobody uses one. The caller
// calls release when it needs no page of it any more. An error is everyone's who
// waited for this open; the next Get tries again.
func (c *Cache) Get(key string, open func() (*Image, error)) (image *Image, release func(), err error) {
	e := c.enter(key)
	e.once.Do(func() { e.image, e.err = open() })
	release = sync.OnceFunc(func() { c.leave(key, e) })
	if e.err != nil {
		release()
		return nil, nil, e.err
	}
	return e.image, release, nil
}

func (c *Cache) enter(key string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.images == nil {
		c.images = map[string]*entry{}
	}
	e := c.images[key]
	if e == nil {
		e = &entry{}
		c.images[key] = e
	}
	e.users++
	return e
}

// leave closes the image after its last user.
func (c *Cache) leave(key string, e *entry) {
	c.mu.Lock()
	e.users--
	last := e.users == 0
	if last {
		delete(c.images, key)
	}
	c.mu.Unlock()
	if last && e.image != nil {
		e.image.Close()
	}
}
