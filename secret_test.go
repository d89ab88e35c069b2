package thaw_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"thaw"
)

func TestCheckSecretName(t *testing.T) {
	for _, good := range []string{"a", "A", "7", "_", "db-password", "tls.crt", "a..b", "a-", strings.Repeat("x", thaw.MaxSecretName)} {
		if err := thaw.CheckSecretName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", ".a", "-a", "a.", "a/b", "../a", "a b", "a\n", "ü", "a\x00", strings.Repeat("x", thaw.MaxSecretName+1)} {
		wantInvalid(t, fmt.Sprintf("CheckSecretName(%q)", bad), thaw.CheckSecretName(bad), "secret name")
	}
}

func TestValidateSecrets(t *testing.T) {
	s := thaw.Settings{Secrets: []string{"b", "a", "b"}}.WithDefaults()
	if err := s.Validate(); err != nil || strings.Join(s.Secrets, " ") != "a b" {
		t.Errorf("%q, %v; want each once, in order", s.Secrets, err)
	}
	wantInvalid(t, "a bad name", thaw.Settings{Secrets: []string{"a", "../b"}}.WithDefaults().Validate(), `"../b"`)
	many := thaw.Settings{}
	for n := range thaw.MaxSecrets + 1 {
		many.Secrets = append(many.Secrets, fmt.Sprint("s", n))
	}
	wantInvalid(t, "many", many.WithDefaults().Validate(), "too many")
}

// TestSensitiveIsNotShown: whatever a value is printed, encoded or logged with.
func TestSensitiveIsNotShown(t *testing.T) {
	const secret = "hunter2"
	v := thaw.SecretValue{Name: "db", Value: thaw.Sensitive(secret)}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("value", "secret", v, "bytes", v.Value)
	slog.New(slog.NewTextHandler(&log, nil)).Info("value", "secret", v, "bytes", v.Value)
	raw, err := json.Marshal(map[string]any{"v": v, "p": &v, "b": v.Value})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(raw), thaw.Errorf(thaw.CodeInvalid, "bad %v %q", v, v.Value).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%X"} {
		texts = append(texts, fmt.Sprintf(verb, v), fmt.Sprintf(verb, &v), fmt.Sprintf(verb, v.Value), fmt.Sprintf(verb, []thaw.SecretValue{v}))
	}
	for _, text := range texts {
		if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", secret)) || strings.Contains(text, "104 117") || strings.Contains(text, "aHVudGVyMg") {
			t.Errorf("the value is in %q", text)
		}
	}
}
