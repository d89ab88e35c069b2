package registry

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"thaw"
)

// Function returns what points at the versions of the function called name, or a
// [thaw.CodeNotFound] error.
func (db *DB) Function(name string) (f thaw.Function, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		f, err = getFunction(tx, name)
		return err
	})
	return f, wrap("read function", name, err)
}

// Rollback makes version number of the function called name the one that serves,
// or with 0 the one that did before; replaced is the one that did. A version that
// serves already is fine.
func (db *DB) Rollback(name string, number int) (v thaw.Version, replaced int, err error) {
	err = db.move(name, func(tx *bbolt.Tx, f thaw.Function) (thaw.Function, error) {
		if number == 0 && len(f.Before) == 0 {
			return f, thaw.Errorf(thaw.CodeConflict, "nothing has served before version %d of function %s: name a version, `thaw versions %s` lists those it has", f.Serves, name, name)
		}
		if number == 0 {
			number = f.Before[len(f.Before)-1]
		}
		b, err := functionBucket(tx, name)
		if err != nil {
			return f, err
		}
		v, err = getVersion(b, name, number)
		replaced = f.Serves
		return f.Move(number), err
	})
	return v, replaced, wrap("roll back function", name, err)
}

// SetAlias makes a, or moves it, and returns what it was. Its versions must exist.
func (db *DB) SetAlias(name string, a thaw.Alias) (replaced thaw.Alias, err error) {
	if err := a.Validate(); err != nil {
		return replaced, err
	}
	err = db.move(name, func(tx *bbolt.Tx, f thaw.Function) (thaw.Function, error) {
		b, err := functionBucket(tx, name)
		if err != nil {
			return f, err
		}
		for _, n := range a.Versions() {
			if _, err := getVersion(b, name, n); err != nil {
				return f, err
			}
		}
		replaced, _ = f.Alias(a.Name)
		return f.WithAlias(a), nil
	})
	return replaced, wrap("set an alias of function", name, err)
}

// RemoveAlias removes an alias and returns what it was; a [thaw.CodeNotFound]
// error says that there is none.
func (db *DB) RemoveAlias(name, alias string) (removed thaw.Alias, err error) {
	err = db.move(name, func(_ *bbolt.Tx, f thaw.Function) (thaw.Function, error) {
		var ok bool
		if removed, ok = f.Alias(alias); !ok {
			return f, thaw.Errorf(thaw.CodeNotFound, "function %s has no alias %q: `thaw alias ls %s` lists those it has", name, alias, name)
		}
		return f.WithoutAlias(alias), nil
	})
	return removed, wrap("remove an alias of function", name, err)
}

// DeleteVersion removes a version that nothing points at and that allowed does
// not refuse, and returns it. allowed must not call the registry.
func (db *DB) DeleteVersion(name string, number int, allowed func() error) (v thaw.Version, err error) {
	err = db.move(name, func(tx *bbolt.Tx, f thaw.Function) (thaw.Function, error) {
		b, err := functionBucket(tx, name)
		if err != nil {
			return f, err
		}
		if v, err = getVersion(b, name, number); err != nil {
			return f, err
		}
		if err := unpointed(f, number); err != nil {
			return f, err
		}
		if err := allowed(); err != nil {
			return f, err
		}
		return f.Without(number), b.Delete(numberKey(number))
	})
	return v, wrap("delete version of", name, err)
}

// unpointed refuses a version that something points at, and says what to do.
func unpointed(f thaw.Function, number int) error {
	if f.Serves == number {
		return thaw.Errorf(thaw.CodeConflict, "version %d of function %s serves: deploy another one, or roll back to one (thaw rollback %s VERSION), first; `thaw rm %s` removes all", number, f.Name, f.Name, f.Name)
	}
	if names := f.AliasesOf(number); len(names) > 0 {
		return thaw.Errorf(thaw.CodeConflict, "alias %s of function %s names version %d: point it at another one (thaw alias set %s %s VERSION), or remove it (thaw alias rm %s %s), first",
			names[0], f.Name, number, f.Name, names[0], f.Name, names[0])
	}
	return nil
}

// Prune removes all but the newest keep versions of the function called name, those
// that something points at, and those that spare chooses, and returns what it
// removed. spare must not call the registry.
func (db *DB) Prune(name string, keep int, spare func(number int) bool) (removed []thaw.Version, err error) {
	err = db.move(name, func(tx *bbolt.Tx, f thaw.Function) (thaw.Function, error) {
		b, err := functionBucket(tx, name)
		if err != nil {
			return f, err
		}
		all, err := versionsIn(b, name)
		if err != nil {
			return f, err
		}
		removed = slices.DeleteFunc(all[:max(0, len(all)-keep)], func(v thaw.Version) bool { return f.PointsAt(v.Number) || spare(v.Number) })
		for _, v := range removed {
			f = f.Without(v.Number)
			if err := b.Delete(numberKey(v.Number)); err != nil {
				return f, err
			}
		}
		return f, nil
	})
	return removed, wrap("prune versions of", name, err)
}

// move changes what points at the versions of a function, in one transaction.
func (db *DB) move(name string, change func(*bbolt.Tx, thaw.Function) (thaw.Function, error)) error {
	return db.bolt.Update(func(tx *bbolt.Tx) error {
		f, err := getFunction(tx, name)
		if err != nil {
			return err
		}
		if f, err = change(tx, f); err != nil {
			return err
		}
		return putFunction(tx, f)
	})
}

func getFunction(tx *bbolt.Tx, name string) (thaw.Function, error) {
	raw := tx.Bucket([]byte(bucketFunctions)).Get([]byte(name))
	if raw == nil {
		return thaw.Function{}, noFunction(name)
	}
	return decodeFunction(name, raw)
}

func putFunction(tx *bbolt.Tx, f thaw.Function) error {
	raw, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode function %s: %w", f.Name, err)
	}
	return tx.Bucket([]byte(bucketFunctions)).Put([]byte(f.Name), raw)
}

func decodeFunction(name string, raw []byte) (f thaw.Function, err error) {
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("decode function %s: %w", name, err)
	}
	if f.Name != name {
		return f, fmt.Errorf("function %s is filed as %s", f.Name, name)
	}
	return f, nil
}

// inspectPointers refuses pointers to what is not there.
func inspectPointers(f thaw.Function, versions *bbolt.Bucket) error {
	pointed := append([]int{f.Serves}, f.Before...)
	for _, a := range f.Aliases {
		if err := a.Validate(); err != nil {
			return err
		}
		pointed = append(pointed, a.Versions()...)
	}
	for _, n := range pointed {
		if versions == nil || versions.Get(numberKey(n)) == nil {
			return fmt.Errorf("function %s points at version %d, which is not there", f.Name, n)
		}
	}
	return nil
}
