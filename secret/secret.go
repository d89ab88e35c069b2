// Package secret keeps the values that functions are given as files: on the disk, and
// nowhere else.
//
// # Format
//
// A store is a folder, of mode 0700, with one file of mode 0600 for each secret, called
// as the secret is:
//
//	offset size
//	 0      8   "thawsec" 01
//	 8     12   nonce, random
//	20          AES-256-GCM of the value, its tag of 16 bytes last, with the secret's
//	            name as additional data
//
// The key is another file: 64 hexadecimal digits and a line end, mode 0600. It may be
// anywhere. What that protects from are copies of the folder that leave the key out,
// such as backups, and what a file system still holds of a file that was removed;
// whoever can read both reads the values.
package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"thaw"
)

const (
	magic     = "thawsec\x01"
	nonceSize = 12
	overhead  = len(magic) + nonceSize + 16
	keySize   = 32
)

// Store is a folder of secrets. Its methods may be called concurrently.
type Store struct {
	dir, keyFile string
	mu           sync.Mutex // held by Set, which may make a key
}

// Open opens the store in dir, which is made with the first secret, as is keyFile. It
// removes what a kill left half written: the names of that begin with a dot.
func Open(dir, keyFile string) (*Store, error) {
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return &Store{dir: dir, keyFile: keyFile}, err
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Set stores a secret in place of one with its name.
func (s *Store) Set(v thaw.SecretValue) error {
	if err := thaw.CheckSecretName(v.Name); err != nil {
		return err
	}
	if len(v.Value) > thaw.MaxSecretBytes {
		return thaw.Errorf(thaw.CodeTooLarge, "the secret is larger than %d bytes: that is the most one may hold", thaw.MaxSecretBytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of secrets: %w", err)
	}
	seal, err := s.cipher(true)
	if err != nil {
		return err
	}
	nonce := make([]byte, nonceSize)
	rand.Read(nonce) // never fails (crypto/rand)
	sealed := seal.Seal(append([]byte(magic), nonce...), nonce, v.Value, []byte(v.Name))
	if err := renameio.WriteFile(s.path(v.Name), sealed, 0o600); err != nil {
		return fmt.Errorf("store secret %s: %w", v.Name, err)
	}
	return nil
}

// Values returns the secrets called names. One that is not there, or cannot be read, is
// an error fit for a user.
func (s *Store) Values(names []string) (all []thaw.SecretValue, err error) {
	if len(names) == 0 {
		return nil, nil
	}
	seal, err := s.cipher(false)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		value, err := s.read(name, seal)
		if err != nil {
			return nil, err
		}
		all = append(all, thaw.SecretValue{Name: name, Value: value})
	}
	return all, nil
}

func (s *Store) read(name string, seal cipher.AEAD) (thaw.Sensitive, error) {
	if err := s.Check(name); err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(s.path(name))
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	if len(sealed) < overhead || !bytes.HasPrefix(sealed, []byte(magic)) {
		return nil, unreadable(name)
	}
	nonce, sealed := sealed[len(magic):len(magic)+nonceSize], sealed[len(magic)+nonceSize:]
	value, err := seal.Open(nil, nonce, sealed, []byte(name))
	if err != nil {
		return nil, unreadable(name)
	}
	return value, nil
}

func unreadable(name string) error {
	return thaw.Errorf(thaw.CodeUnavailable, "secret %s cannot be read: its file is damaged, or another key wrote it: set it again (thaw secret set %s), or put the key back", name, name)
}

// Check returns a [thaw.CodeNotFound] error unless there is a secret called name.
func (s *Store) Check(name string) error {
	if err := thaw.CheckSecretName(name); err != nil {
		return err
	}
	_, err := os.Stat(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return thaw.Errorf(thaw.CodeNotFound, "there is no secret %s: set it first, thaw secret set %s", name, name)
	}
	if err != nil {
		return fmt.Errorf("look for secret %s: %w", name, err)
	}
	return nil
}

// Get describes the secret called name.
func (s *Store) Get(name string) (thaw.Secret, error) {
	if err := s.Check(name); err != nil {
		return thaw.Secret{}, err
	}
	info, err := os.Stat(s.path(name))
	if err != nil {
		return thaw.Secret{}, fmt.Errorf("look for secret %s: %w", name, err)
	}
	return describe(info), nil
}

func describe(info fs.FileInfo) thaw.Secret {
	return thaw.Secret{Name: info.Name(), Bytes: max(0, info.Size()-int64(overhead)), Updated: info.ModTime().UTC(), Users: []string{}}
}

// List describes all secrets, by name.
func (s *Store) List() ([]thaw.Secret, error) {
	entries, err := os.ReadDir(s.dir) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the secrets: %w", err)
	}
	all := []thaw.Secret{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && thaw.CheckSecretName(e.Name()) == nil { // else it has just been removed
			all = append(all, describe(info))
		}
	}
	return all, nil
}

// Remove deletes the secret called name.
func (s *Store) Remove(name string) error {
	if err := s.Check(name); err != nil {
		return err
	}
	if err := os.Remove(s.path(name)); err != nil {
		return fmt.Errorf("remove secret %s: %w", name, err)
	}
	return nil
}

// cipher reads the key, and makes it if that is wanted and there is none.
func (s *Store) cipher(create bool) (cipher.AEAD, error) {
	text, err := os.ReadFile(s.keyFile)
	if errors.Is(err, fs.ErrNotExist) && create {
		text, err = s.makeKey()
	}
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "the key of the secrets cannot be read: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keySize {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "%s is no key of secrets: it must hold %d hexadecimal digits", s.keyFile, 2*keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use the key of the secrets: %w", err)
	}
	return cipher.NewGCM(block)
}

// makeKey makes a key. Where there are secrets already, their key is lost, and another one would hide that.
func (s *Store) makeKey() ([]byte, error) {
	if all, err := s.List(); err != nil || len(all) > 0 {
		return nil, errors.Join(err, fmt.Errorf("%s is missing, and there are secrets of another key: put it back, or remove them", s.keyFile))
	}
	key := make([]byte, keySize)
	rand.Read(key) // never fails (crypto/rand)
	text := []byte(hex.EncodeToString(key) + "\n")
	return text, renameio.WriteFile(s.keyFile, text, 0o600)
}
