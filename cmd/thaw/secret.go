package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newSecretCommand(a *app) *cobra.Command {
	return group("secret", "Keep values that functions are given as files",
		`Keep values that functions are given as files, /run/thaw/secrets/NAME: those that
name them (thaw deploy --secret NAME). They are in no snapshot: a function reads them
when it is invoked, or in an after-restore hook. docs/secrets.md says what protects them.`,
		`  thaw secret set db-password < password`,
		newSecretSetCommand(a), newSecretListCommand(a), newSecretRemoveCommand(a))
}

func newSecretSetCommand(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Set a secret, from standard input",
		Long: `Set a secret to what standard input or a file holds, byte for byte. The next start of a
function that names it gets the new value; VMs that have the old one end, those at
work when they have replied.`,
		Example: `  printf %s "$PASSWORD" | thaw secret set db-password
  thaw secret set tls.key --from-file key.pem`,
		Args: arguments("NAME"), ValidArgsFunction: a.complete(false, secretNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := thaw.CheckSecretName(args[0]); err != nil {
				return err
			}
			value, err := readSecret(a.stdin, file)
			if err != nil {
				return err
			}
			if file == "" && bytes.HasSuffix(value, []byte("\n")) {
				fmt.Fprintln(a.stderr, "thaw: the value ends with a newline, which the function will see")
			}
			return a.withClient(func(c *client.Client) error {
				s, err := c.SetSecret(cmd.Context(), thaw.SecretValue{Name: args[0], Value: value})
				if err != nil {
					return err
				}
				if a.asValues() {
					return a.value(s)
				}
				_, err = fmt.Fprintf(a.stdout, "%s is set, %d bytes; %d versions get it with their next start\n", s.Name, s.Bytes, len(s.Users))
				return written(err)
			})
		},
	}
	cmd.Flags().StringVar(&file, "from-file", "", "`file` that holds the value, instead of standard input")
	return cmd
}

// readSecret reads a value from file, or from stdin for "".
func readSecret(stdin io.Reader, file string) (value thaw.Sensitive, err error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, thaw.Errorf(thaw.CodeInvalid, "read the secret: %w", err)
		}
		defer f.Close()
		stdin = f
	}
	value, err = io.ReadAll(io.LimitReader(stdin, thaw.MaxSecretBytes+1))
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "read the secret: %w", err)
	}
	if len(value) > thaw.MaxSecretBytes {
		return nil, thaw.Errorf(thaw.CodeTooLarge, "the secret is larger than %d bytes: that is the most one may hold", thaw.MaxSecretBytes)
	}
	return value, nil
}

func newSecretListCommand(a *app) *cobra.Command {
	return a.quietFlag(&cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List secrets", Long: "List secrets: what they are called, how long they are, and who names them. Nothing tells\ntheir values.", Example: "  thaw secret ls",
		Args: arguments(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				all, err := c.Secrets(cmd.Context())
				if err != nil {
					return err
				}
				l := listing{values: all, head: []string{"SECRET", "BYTES", "SET", "NAMED BY"}}
				for _, s := range all {
					l.names = append(l.names, s.Name)
					l.rows = append(l.rows, []string{s.Name, strconv.FormatInt(s.Bytes, 10), ago(s.Updated), orDash(strings.Join(s.Users, " "))})
				}
				return a.list(l)
			})
		},
	}, "print names alone")
}

func newSecretRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove"}, Short: "Remove a secret", Long: "Remove a secret, which no version may name.", Example: "  thaw secret rm db-password",
		Args: arguments("NAME"), ValidArgsFunction: a.complete(false, secretNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := thaw.CheckSecretName(args[0]); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				if err := c.RemoveSecret(cmd.Context(), args[0]); err != nil {
					return err
				}
				return a.removed(args[0])
			})
		},
	}
}

func secretNames(ctx context.Context, c *client.Client, _ []string, _ string) (names []cobra.Completion, err error) {
	all, err := c.Secrets(ctx)
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names, err
}
