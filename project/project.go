// Package project reads thaw.yaml, the project file of a function: what a deploy of
// its folder is to have for settings. It is pure: bytes in, settings out.
//
// docs/project-file.md is the reference of the format. [Keys] is what it is checked
// against.
package project

import (
	"slices"

	"thaw"
	"thaw/internal/strictyaml"
)

// FileName is what the file is called in a function's folder.
const FileName = "thaw.yaml"

// MaxBytes is the most it may hold.
const MaxBytes = strictyaml.MaxBytes

// Project is what a project file says. What it leaves out is zero.
type Project struct {
	// Name is the function's.
	Name string
	// Settings has no defaults set.
	Settings thaw.Settings
	// Build is a shell command that makes the code in the folder, "" for none.
	Build string
	// Schedules are all that the function is to have if the file has the key: see
	// [Project.Set]. Their function is that of the deploy.
	Schedules []thaw.Schedule
	values    map[string]strictyaml.Value // of the keys that are there
}

// Set says where the file has key, as FILE:LINE:COLUMN, or "" if it has not.
func (p Project) Set(key string) string {
	if v, ok := p.values[key]; ok {
		return v.Place()
	}
	return ""
}

// Text is what the file has for key on one line: a string as it is, anything else as
// JSON.
func (p Project) Text(key string) string { return p.values[key].Line() }

// Exists says whether the file has any key.
func (p Project) Exists() bool { return len(p.values) > 0 }

// Parse reads a project file; file is its name in messages. What is wrong is a
// [thaw.CodeInvalid] error that says where: syntax, a key that there is not, a
// value of the wrong type, or one that no function can have.
func Parse(file string, content []byte) (Project, error) {
	root, err := strictyaml.Parse(file, content)
	if err != nil {
		return Project{}, err
	}
	p, err := read(root, "")
	if err != nil {
		return Project{}, err
	}
	if problem := p.validate(); problem != nil {
		return Project{}, blame(root, problem)
	}
	return p, nil
}

// read takes over every key but the one to be left out.
func read(root strictyaml.Value, without string) (Project, error) {
	p := Project{values: map[string]strictyaml.Value{}}
	readers := map[string]strictyaml.Reader{}
	for _, k := range Keys() {
		readers[k.Name] = func(v strictyaml.Value) error {
			if k.Name == without {
				return nil
			}
			p.values[k.Name] = v
			return k.read(&p, v)
		}
	}
	err := root.Object(readers)
	return p, err
}

func (p Project) validate() error {
	if p.Name != "" {
		if err := thaw.CheckName(p.Name); err != nil {
			return err
		}
	}
	return p.Settings.WithDefaults().Validate()
}

// blame says where a problem with all keys together comes from: it is the last key,
// in the order of [Keys], without which it is not there.
func blame(root strictyaml.Value, problem error) error {
	entries, err := root.Entries()
	if err != nil {
		return err
	}
	at := root
	for _, k := range slices.Backward(Keys()) {
		i := slices.IndexFunc(entries, func(e strictyaml.Entry) bool { return e.Key == k.Name })
		if i < 0 {
			continue
		}
		p, err := read(root, k.Name)
		if err != nil {
			return err
		}
		if without := p.validate(); without == nil || without.Error() != problem.Error() {
			at = entries[i].Value
			break
		}
	}
	return thaw.Errorf(thaw.CodeInvalid, "%s: %w", at.Place(), problem)
}
