package wire

import (
	"bytes"
	"strings"
	"testing"

	"thaw"
)

func appendAll(all []thaw.SecretValue) (raw []byte) {
	for _, s := range all {
		raw = AppendSecret(raw, s)
	}
	return raw
}

func TestSecretsThatCannotBe(t *testing.T) {
	good := AppendSecret(nil, thaw.SecretValue{Name: "a", Value: thaw.Sensitive("value")})
	many := bytes.Repeat(AppendSecret(nil, thaw.SecretValue{Name: "a"}), thaw.MaxSecrets+1)
	for name, raw := range map[string][]byte{
		"NoHeader": good[:4], "NoName": good[:5], "HalfAValue": good[:8], "More": append(good, 1),
		"Path":  AppendSecret(nil, thaw.SecretValue{Name: "../a"}),
		"Empty": AppendSecret(nil, thaw.SecretValue{}),
		"Long":  AppendSecret(nil, thaw.SecretValue{Name: strings.Repeat("a", thaw.MaxSecretName+1)}),
		"Large": AppendSecret(nil, thaw.SecretValue{Name: "a", Value: make([]byte, thaw.MaxSecretBytes+1)}),
		"Many":  many,
	} {
		if all, err := ParseSecrets(raw); err == nil || all != nil {
			t.Errorf("%s: %d secrets, %v", name, len(all), err)
		}
	}
}

func FuzzSecrets(f *testing.F) {
	f.Add(appendAll([]thaw.SecretValue{{Name: "a", Value: thaw.Sensitive("x\x00")}, {Name: "tls.key", Value: nil}}))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 'a'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := ParseSecrets(raw)
		if err != nil {
			return
		}
		if again := appendAll(all); !bytes.Equal(again, raw) {
			t.Errorf("%x became %x", raw, again)
		}
	})
}
