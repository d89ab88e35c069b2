package probe

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// copies is how often the buffer holds what is written to it.
const copies = 2048

// readings is how often the monotonic clock is read to see it go backwards.
const readings = 500

// provided is the function in Go, with what it noted before the snapshot and
// right after the restore.
type provided struct {
	born, restored Moment
	drawn          map[string]string
	buffer         []byte
	near, far      net.Conn
	after          int
	seed           [32]byte
	own            *rand.Rand // nil before the restore
}

// begin is the function's init.
func begin() (p *provided, err error) {
	p = &provided{buffer: bytes.Repeat([]byte(Pattern), copies)}
	if p.near, p.far, err = loop(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join("/tmp", MarkFile), []byte(Pattern), 0o600); err != nil {
		return nil, err
	}
	inherited()
	if p.drawn, err = p.draw(); err != nil {
		return nil, err
	}
	p.born, err = now()
	return p, err
}

func (p *provided) handle(e Event) (r Report, err error) {
	if r.Served, err = now(); err != nil {
		return r, err
	}
	r.Born, r.Restored, r.After, r.DrawnBefore = p.born, p.restored, p.after, p.drawn
	if r.Found, err = p.writes(); err != nil {
		return r, err
	}
	copy(p.buffer, bytes.Repeat([]byte(e.Token), copies))
	if err := os.WriteFile(filepath.Join("/tmp", MarkFile), []byte(e.Token), 0o600); err != nil {
		return r, err
	}
	if r.Drawn, err = p.draw(); err != nil {
		return r, err
	}
	r.Inherited, r.Backward, r.Nap = inherited(), backward(), nap(time.Duration(e.NapMS)*time.Millisecond)
	if err := r.surroundings(); err != nil {
		return r, err
	}
	if r.Echo, err = p.echo(e.Token); err != nil {
		return r, err
	}
	time.Sleep(time.Duration(e.HoldMS) * time.Millisecond)
	if r.Left, err = p.writes(); err != nil {
		return r, err
	}
	r.Ended, err = now()
	return r, err
}

// surroundings fills in what the guest is like.
func (r *Report) surroundings() error {
	env, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return err
	}
	r.Environ, r.ProcEnviron, r.Reach = environ(), string(env), reach()
	if r.Secret, err = text(SecretFile); err != nil {
		return err
	}
	interfaces, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		r.Interfaces = append(r.Interfaces, i.Name())
	}
	r.Connections, err = connections()
	return err
}

func (p *provided) writes() (w Writes, err error) {
	w.Memory = string(p.buffer[:TokenLen])
	if !bytes.Equal(p.buffer, bytes.Repeat(p.buffer[:TokenLen], copies)) {
		w.Memory = "a mixture"
	}
	w.Files = map[string]string{}
	err = fs.WalkDir(os.DirFS("/tmp"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		w.Files[name], err = text(filepath.Join("/tmp", name))
		return err
	})
	return w, err
}

// echo sends token around.
func (p *provided) echo(token string) (string, error) {
	if _, err := io.WriteString(p.near, token); err != nil {
		return "", err
	}
	b := make([]byte, len(token))
	_, err := io.ReadFull(p.far, b)
	return string(b), err
}

// loop returns the two ends of a connection within this guest.
func loop() (near, far net.Conn, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if near, err = net.Dial("tcp4", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	far, err = l.Accept()
	return near, far, err
}

// reach tries an address outside (RFC 5737 keeps it for documentation).
func reach() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 0, 2, 1}}); err != nil {
		return err.Error()
	}
	return "reached"
}

func connections() (found []Connection, err error) {
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		b, err := os.ReadFile("/proc/net/" + kind)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(b))
		for lines.Scan() {
			if f := strings.Fields(lines.Text()); len(f) > 2 && strings.HasSuffix(f[0], ":") {
				found = append(found, Connection{Kind: kind, Local: f[1], Remote: f[2]})
			}
		}
	}
	return found, nil
}

// backward counts how often the monotonic clock went backwards.
func backward() (count int) {
	last := monotonic()
	for range readings {
		now := monotonic()
		if now < last {
			count++
		}
		last = now
	}
	return count
}

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail with a clock that there is
	return ts.Nano()
}

func nap(d time.Duration) Nap {
	wall, mono := time.Now().UnixNano(), monotonic()
	time.Sleep(d)
	return Nap{MonoNS: monotonic() - mono, WallNS: time.Now().UnixNano() - wall}
}

func now() (m Moment, err error) {
	m.WallNS, m.MonoNS = time.Now().UnixNano(), monotonic()
	if m.Hostname, err = os.Hostname(); err != nil {
		return m, err
	}
	for file, to := range map[string]*string{
		"/run/thaw/instance-id": &m.Instance, "/etc/machine-id": &m.Machine, "/proc/sys/kernel/random/boot_id": &m.Boot,
	} {
		if *to, err = text(file); err != nil {
			return m, err
		}
	}
	return m, nil
}

// text is the content of a file without spaces around it.
func text(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}
