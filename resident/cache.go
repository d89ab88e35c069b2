package resident

import "sync"

// Cache hands out the images of snapshots that are in use: clones of one snapshot
// that are alive at the same time share one. It keeps the memory that loading sets
// are read into, for the next of them. The zero value is empty and ready; its methods
// may be called concurrently, Close last.
type Cache struct {
	mu     sync.Mutex
	images map[string]*entry
	idle   []*blocks
	closed bool
}

type entry struct {
	once  sync.Once
	image *Image
	err   error
	users int // protected by the cache's mu
}

// Get returns the image called key, made by open if nobody uses one: then alone is
// true. The caller calls release when it needs no page of it any more. An error is
// everyone's who waited for this open; the next Get tries again.
func (c *Cache) Get(key string, open func() (*Image, error)) (image *Image, alone bool, release func(), err error) {
	e, alone := c.enter(key)
	e.once.Do(func() { e.image, e.err = open() })
	release = sync.OnceFunc(func() { c.leave(key, e) })
	if e.err != nil {
		release()
		return nil, false, nil, e.err
	}
	return e.image, alone, release, nil
}

func (c *Cache) enter(key string) (e *entry, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.images == nil {
		c.images = map[string]*entry{}
	}
	e = c.images[key]
	if e == nil {
		e, first = &entry{}, true
		c.images[key] = e
	}
	e.users++
	return e, first
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

// keep is for how many loading sets at the same time memory is kept, 4 MiB each.
const keep = 2

// borrow returns memory to read into. The caller gives it back.
func (c *Cache) borrow() (*blocks, error) {
	if b := c.pop(); b != nil {
		return b, nil
	}
	return newBlocks()
}

func (c *Cache) pop() (b *blocks) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.idle) - 1; last >= 0 {
		b, c.idle = c.idle[last], c.idle[:last]
	}
	return b
}

// giveBack takes memory that nothing is read into.
func (c *Cache) giveBack(b *blocks) {
	if !c.push(b) {
		b.close() // takes milliseconds
	}
}

func (c *Cache) push(b *blocks) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) == keep {
		return false
	}
	c.idle = append(c.idle, b)
	return true
}

// Close gives back what is kept. Images in use stay.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for b := c.pop(); b != nil; b = c.pop() {
		b.close()
	}
}
