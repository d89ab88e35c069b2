package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"thaw"
)

// AppendSecret appends a secret to the raw part of [Secrets]:
//
//	offset size
//	 0      1   length of the name
//	 1      4   length of the value, little-endian
//	 5          name, then value
func AppendSecret(dst []byte, s thaw.SecretValue) []byte {
	dst = append(dst, byte(len(s.Name)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s.Value)))
	dst = append(dst, s.Name...)
	return append(dst, s.Value...)
}

const secretHeader = 5

var errSecrets = errors.New("the secrets are cut short")

// ParseSecrets is the inverse of [AppendSecret], as often as it takes. The values are
// parts of raw. A name that a secret cannot have, too many secrets and one that is too
// large are errors.
func ParseSecrets(raw []byte) (all []thaw.SecretValue, err error) {
	for len(raw) > 0 {
		if len(raw) < secretHeader {
			return nil, errSecrets
		}
		name, value := int(raw[0]), int(binary.LittleEndian.Uint32(raw[1:]))
		raw = raw[secretHeader:]
		if value > thaw.MaxSecretBytes || len(all) == thaw.MaxSecrets {
			return nil, fmt.Errorf("more than %d secrets, or one of more than %d bytes", thaw.MaxSecrets, thaw.MaxSecretBytes)
		}
		if len(raw) < name+value {
			return nil, errSecrets
		}
		s := thaw.SecretValue{Name: string(raw[:name]), Value: thaw.Sensitive(raw[name : name+value])}
		if err := thaw.CheckSecretName(s.Name); err != nil {
			return nil, err
		}
		all, raw = append(all, s), raw[name+value:]
	}
	return all, nil
}
