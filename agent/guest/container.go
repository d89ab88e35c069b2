package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"thaw/agent/wire"
)

// surroundings returns the folder that a function is executed in, and whom it runs
// as.
func surroundings(cfg Config, c *wire.Container) (dir string, _ *syscall.Credential, err error) {
	if c == nil {
		return cfg.TaskRoot, cfg.Credential, nil
	}
	if info, err := os.Stat(c.WorkingDirectory); err != nil || !info.IsDir() {
		return "", nil, fmt.Errorf("Error: the working directory %s is no folder of the image", c.WorkingDirectory)
	}
	if cfg.Credential == nil || c.User == "" {
		return c.WorkingDirectory, cfg.Credential, nil
	}
	uid, gid, err := findUser(c.User, "/etc/passwd", "/etc/group")
	if err != nil {
		return "", nil, fmt.Errorf("Error: %w", err)
	}
	return c.WorkingDirectory, unprivileged(*cfg.Credential, uid, gid), nil
}

// unprivileged is what uid and gid may be: anybody but root, whose place the user
// of functions takes.
func unprivileged(usual syscall.Credential, uid, gid uint32) *syscall.Credential {
	if uid != 0 {
		usual.Uid = uid
	}
	if gid != 0 {
		usual.Gid = gid
	}
	return &usual
}

// findUser returns whom USER or USER:GROUP, by number or by name, means in the given
// files, as Docker does: the group of a user who is in passwd is what it says there,
// that of others is 0.
func findUser(user, passwd, group string) (uid, gid uint32, err error) {
	user, groupName, hasGroup := strings.Cut(user, ":")
	entry, err := findEntry(passwd, user)
	if err != nil {
		return 0, 0, err
	}
	if entry != nil {
		uid, gid = number(entry, 2), number(entry, 3)
	} else if uid, err = parseID(user); err != nil {
		return 0, 0, fmt.Errorf("USER %q of the image is not in its %s", user, passwd)
	}
	if !hasGroup {
		return uid, gid, nil
	}
	if entry, err = findEntry(group, groupName); err != nil {
		return 0, 0, err
	}
	if entry != nil {
		return uid, number(entry, 2), nil
	}
	if gid, err = parseID(groupName); err != nil {
		return 0, 0, fmt.Errorf("group %q of the image's USER is not in its %s", groupName, group)
	}
	return uid, gid, nil
}

// maxAccounts bounds the size of /etc/passwd and /etc/group in bytes.
const maxAccounts = 1 << 20

// findEntry returns the fields of the line of passwd(5) or group(5) that has a name,
// or else an id; nil when there is none.
func findEntry(file, who string) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, err
	}
	var byID []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 3 {
			continue
		}
		if fields[0] == who {
			return fields, nil
		}
		if fields[2] == who && byID == nil {
			byID = fields
		}
	}
	return byID, nil
}

// number returns a field as an id, 0 where there is none.
func number(fields []string, i int) uint32 {
	if i >= len(fields) {
		return 0
	}
	id, err := parseID(fields[i])
	if err != nil {
		return 0
	}
	return id
}

// parseID takes all ids but the last, which stands for nobody (chown(2)).
func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err == nil && uint32(id) == ^uint32(0) {
		err = strconv.ErrRange
	}
	return uint32(id), err
}

// variable returns the value of a variable in an environment.
func variable(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}
