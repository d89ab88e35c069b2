// Package aio reads files while the caller does something else: Linux's native
// asynchronous I/O (io_submit(2)), which io_uring is often turned off beside. Only
// reads of files opened with O_DIRECT are asynchronous, where the file system can;
// others are over before [Queue.Read] returns.
//
// A goroutine for each read would do as well, but each keeps a processor of the Go
// runtime until that finds out that it waits, which may be milliseconds later: on a
// small machine the others stand still meanwhile.
package aio

import "golang.org/x/sys/unix"

// Queue holds reads that are under way. Its methods may be called concurrently,
// except Close.
type Queue struct {
	context uintptr // aio_context_t
	// plain is used instead where the kernel gives no context (ENOSYS, EPERM, or EAGAIN
	// over fs.aio-max-nr): a goroutine for each read.
	plain chan Ended
}

// Ended is a read that has ended.
type Ended struct {
	Tag int
	// N is how many bytes were read: fewer than asked for at the end of the file.
	N   int
	Err error
}

// New returns a queue for depth reads under way. Close it.
func New(depth int) *Queue {
	if context, err := setup(depth); err == nil {
		return &Queue{context: context}
	}
	return newPlain(depth)
}

func newPlain(depth int) *Queue { return &Queue{plain: make(chan Ended, depth)} }

// Read begins to read at offset of fd into buf, and returns. The memory of buf is not
// of the Go heap, as nothing here keeps it from being collected, and stays mapped until
// Wait has returned tag. With O_DIRECT its address, its length and offset are multiples
// of the device's block.
func (q *Queue) Read(fd, tag int, buf []byte, offset int64) error {
	if q.plain == nil {
		return submit(q.context, fd, tag, buf, offset)
	}
	go func() {
		n, err := unix.Pread(fd, buf, offset)
		q.plain <- Ended{Tag: tag, N: max(n, 0), Err: err}
	}()
	return nil
}

// Wait waits until a read has ended, whichever is the first: for ever if none is under
// way. An error is the queue's; the read's own is in Ended.
func (q *Queue) Wait() (Ended, error) {
	if q.plain != nil {
		return <-q.plain, nil
	}
	e, err := getEvent(q.context)
	if err != nil {
		return Ended{}, err
	}
	ended := Ended{Tag: int(e.Data), N: int(max(e.Result, 0))}
	if e.Result < 0 {
		ended.Err = unix.Errno(-e.Result)
	}
	return ended, nil
}

// Close gives the queue back. It waits for reads that the kernel has under way; those of
// a queue without its help must have been waited for.
func (q *Queue) Close() error {
	if q.plain != nil {
		return nil
	}
	return destroy(q.context)
}
