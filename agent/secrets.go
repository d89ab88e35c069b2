package agent

import (
	"context"
	"errors"
	"fmt"

	"thaw"
	"thaw/agent/wire"
)

// Secrets has the guest keep values as files of the function's, before it is resumed;
// without any it does nothing.
func (c *Conn) Secrets(ctx context.Context, values []thaw.SecretValue) error {
	if len(values) == 0 {
		return nil
	}
	if c.messages < 3 {
		return errors.New("the guest's agent is of an earlier release and takes no secrets: deploy the function again")
	}
	var raw []byte
	for _, v := range values {
		raw = wire.AppendSecret(raw, v)
	}
	defer clear(raw)
	f, err := c.call(ctx, "", &wire.Secrets{}, raw)
	if err != nil {
		return err
	}
	var m wire.Given
	if err := f.Decode(&m); err != nil {
		return err
	}
	if m.Error != "" {
		return fmt.Errorf("give the guest its secrets: %w", errors.New(m.Error))
	}
	return nil
}
