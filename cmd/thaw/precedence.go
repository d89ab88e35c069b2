package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/spf13/pflag"

	"thaw"
	"thaw/client"
	"thaw/internal/strictyaml"
)

// setting is what a user can set once for many commands: by a flag, in the
// environment, or in a file of their own. The stronger comes first.
type setting struct {
	name string // in the file, and of the flag
	env  string // environment variable
	doc  string
	// otherwise is what holds when nothing else says so.
	otherwise func() string
	check     func(string) error
	words     []string // all there are to choose from, nil for any
}

// The names of settings.
const (
	settingAddr   = "addr"
	settingOutput = "output"
	settingPolicy = "policy"
	settingState  = "state"
)

func settings() []setting {
	return []setting{
		{settingAddr, "THAW_ADDR", "address of the daemon", func() string { return client.DefaultAddr }, checkAddr, nil},
		{settingOutput, "THAW_OUTPUT", "format of the output", func() string { return string(formatTable) }, new(format).Set, formats()},
		{settingPolicy, "THAW_POLICY", "policy of what is deployed", func() string { return string(thaw.DefaultPolicy) }, checkPolicy, policyNames()},
		{settingState, "THAW_STATE", "the daemon's folder", defaultState, checkState, nil},
	}
}

func findSetting(name string) (setting, error) {
	var names []string
	for _, s := range settings() {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return setting{}, thaw.Errorf(thaw.CodeInvalid, "unknown setting %q: choose %s", name, strings.Join(names, ", "))
}

func checkAddr(s string) error {
	c, err := client.New(s)
	if err == nil {
		c.Close()
	}
	return err
}

func checkPolicy(s string) error {
	if s == "" {
		return errors.New("choose one of " + strings.Join(policyNames(), ", "))
	}
	_, err := thaw.ParsePolicy(s)
	return err
}

func checkState(s string) error {
	if !filepath.IsAbs(s) {
		return errors.New("write the whole path of the folder, such as /srv/thaw")
	}
	return nil
}

// fromDefault is where a setting is from that nobody has set.
const fromDefault = "default"

// origin is the value of a setting and where it is from.
type origin struct{ value, from string }

// resolve returns what holds for a setting. flags are those of the command, and
// fromProject what the project file says, its zero value without one.
func (s setting) resolve(flags *pflag.FlagSet, fromProject origin, u userFile) (o origin, err error) {
	flag := flags.Lookup(s.name)
	switch {
	case flag != nil && flag.Changed:
		return origin{flag.Value.String(), "--" + s.name}, nil // checked by its own command
	case os.Getenv(s.env) != "":
		o = origin{os.Getenv(s.env), s.env}
	case fromProject.from != "":
		return fromProject, nil
	case u.values[s.name].from != "":
		return u.values[s.name], nil
	default:
		return origin{s.otherwise(), fromDefault}, nil
	}
	if err := s.check(o.value); err != nil {
		return o, thaw.Errorf(thaw.CodeInvalid, "%s: %w", s.env, err)
	}
	return o, nil
}

// setting returns what holds for one by the flags of every command.
func (a *app) setting(name string) (string, error) { return lookUp(a.flags, name) }

// lookUp returns what holds for a setting where no project file is asked.
func lookUp(flags *pflag.FlagSet, name string) (string, error) {
	s, err := findSetting(name)
	if err != nil {
		return "", err
	}
	u, err := readUserFile()
	if err != nil {
		return "", err
	}
	o, err := s.resolve(flags, origin{}, u)
	return o.value, err
}

// userFile is the file with a user's own settings.
type userFile struct {
	path    string // "" where there is no home
	content []byte
	values  map[string]origin
}

// userFilePath is $XDG_CONFIG_HOME/thaw/config.yaml, else in ~/.config (XDG Base
// Directory Specification), "" where there is no home.
func userFilePath() string {
	base, home := os.Getenv("XDG_CONFIG_HOME"), os.Getenv("HOME")
	if !filepath.IsAbs(base) { // the specification says to ignore others
		if home == "" {
			return ""
		}
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "thaw", "config.yaml")
}

func readUserFile() (userFile, error) {
	u := userFile{path: userFilePath()}
	if u.path == "" {
		return u, nil
	}
	content, err := readIfThere(u.path)
	if err != nil {
		return u, thaw.Errorf(thaw.CodeInvalid, "read your settings: %w", err)
	}
	return parseUserFile(u.path, content)
}

// readIfThere reads a file of settings, or a little more than it can hold so that the
// excess is seen. What does not exist is empty.
func readIfThere(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would have us wait
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a file", path))
	}
	return io.ReadAll(io.LimitReader(file, strictyaml.MaxBytes+1))
}

func parseUserFile(path string, content []byte) (userFile, error) {
	u := userFile{path: path, content: content, values: map[string]origin{}}
	root, err := strictyaml.Parse(path, content)
	if err != nil {
		return u, err
	}
	readers := map[string]strictyaml.Reader{}
	for _, s := range settings() {
		readers[s.name] = func(v strictyaml.Value) error {
			text, err := v.Text()
			if err != nil {
				return err
			}
			if err := s.check(text); err != nil {
				return v.Errorf("%w", err)
			}
			u.values[s.name] = origin{text, v.Place()}
			return nil
		}
	}
	return u, root.Object(readers)
}

// userLine is a setting as a line of the file.
func userLine(name, value string) string { return fmt.Sprintf("%s: %q\n", name, value) }

// with returns the content of the file with a setting, or without it if value is "".
// Everything else, comments included, stays as it is.
func (u userFile) with(name, value string) ([]byte, error) {
	lines := strings.SplitAfter(string(u.content), "\n")
	isIt := func(line string) bool {
		key, _, _ := strings.Cut(line, ":")
		return strings.Trim(key, `"'`) == name
	}
	at := slices.IndexFunc(lines, isIt)
	switch {
	case at < 0 && value == "": // and nowhere else, as is seen below
	case at >= 0 && value == "":
		lines = slices.Delete(lines, at, at+1)
	case at >= 0:
		lines[at] = userLine(name, value)
	default:
		if last := len(lines) - 1; last >= 0 && lines[last] != "" {
			lines[last] += "\n"
		}
		lines = append(lines, userLine(name, value))
	}
	content := []byte(strings.Join(lines, ""))
	if now, err := parseUserFile(u.path, content); err != nil || now.values[name].value != value {
		return nil, thaw.Errorf(thaw.CodeInvalid, "%s cannot be changed here: it is not written as one setting a line, edit it by hand", u.path)
	}
	return content, nil
}

// write puts content in place of the file's, unless it is the same.
func (u userFile) write(content []byte) error {
	if bytes.Equal(content, u.content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(u.path), 0o700); err != nil {
		return thaw.Errorf(thaw.CodeUnavailable, "make the folder of your settings: %w", err)
	}
	if err := renameio.WriteFile(u.path, content, 0o600); err != nil {
		return thaw.Errorf(thaw.CodeUnavailable, "write your settings: %w", err)
	}
	return nil
}
