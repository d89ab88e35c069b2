package thaw

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"
)

// The bounds of secrets.
const (
	// MaxSecretName is the longest name of a secret in bytes.
	MaxSecretName = 64
	// MaxSecretBytes is the largest secret: room for a chain of certificates.
	MaxSecretBytes = 64 << 10
	// MaxSecrets is how many a function can name.
	MaxSecrets = 32
)

// Secret is a secret as listed to people: never its value.
type Secret struct {
	Name string `json:"name"`
	// Bytes is the length of the value.
	Bytes   int64     `json:"bytes"`
	Updated time.Time `json:"updated"`
	// Users are the versions that name it, as NAME:NUMBER, by name.
	Users []string `json:"users"`
}

// SecretValue is a secret on its way to a guest.
type SecretValue struct {
	Name  string
	Value Sensitive
}

// Sensitive are bytes that no format, encoder or log shows.
type Sensitive []byte

const redacted = "[secret]"

// Format implements [fmt.Formatter].
func (Sensitive) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements [slog.LogValuer].
func (Sensitive) LogValue() slog.Value { return slog.StringValue(redacted) }

// secretRule leaves out what is no name of a file of its own, such as "..".
var secretRule = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_-])?$`)

// CheckSecretName returns a [CodeInvalid] error unless name can be a secret's.
func CheckSecretName(name string) error {
	if len(name) > MaxSecretName {
		return Errorf(CodeInvalid, "secret name is %d bytes long: use at most %d", len(name), MaxSecretName)
	}
	if !secretRule.MatchString(name) {
		return Errorf(CodeInvalid, "secret name %q is not valid: use a to z, A to Z, digits, ., - and _, not beginning with . or - and not ending with .", name)
	}
	return nil
}

func (s Settings) validateSecrets() error {
	if len(s.Secrets) > MaxSecrets {
		return Errorf(CodeInvalid, "%d secrets are too many: name at most %d", len(s.Secrets), MaxSecrets)
	}
	for _, name := range s.Secrets {
		if err := CheckSecretName(name); err != nil {
			return err
		}
	}
	return nil
}

// UsesSecret says that v's function is given the secret called name.
func (v Version) UsesSecret(name string) bool { return slices.Contains(v.Secrets, name) }
