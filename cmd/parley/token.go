package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/auth"
	"github.com/parleyhq/parley/server"
	"github.com/parleyhq/parley/server/config"
	"github.com/parleyhq/parley/server/datadir"
)

type tokenFlags struct {
	data, user, name string
	roles            []string
	count            int
	ttl              time.Duration
}

const counter = "{i}"

func tokenCommand() *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{
		Use:   "token",
		Short: "Print signed tokens for users",
		Long: "Print bearer tokens, one a line, signed with the key in the data folder. The server of that\n" +
			"folder accepts them, whether it runs now or later. They can be had by whoever can read the folder.",
		Example: "  parley token --user ann\n" +
			"  parley token --user ann --role admin --ttl 10m\n" +
			"  parley token --data ./data --user 'u{i}' --count 5000 --ttl 1h > tokens.txt",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return printTokens(cmd, f) },
	}
	dataFlag(c, &f.data)
	c.Flags().StringVar(&f.user, "user", "", "id of the user; {i} in it counts from 0")
	c.Flags().StringVar(&f.name, "name", "", "name that others see; {i} in it counts from 0")
	c.Flags().StringArrayVar(&f.roles, "role", nil, "role of the user; may be repeated")
	c.Flags().IntVar(&f.count, "count", 1, "how many tokens")
	c.Flags().DurationVar(&f.ttl, "ttl", time.Hour, "how long the tokens are good")
	return c
}

// dataFlag adds the flag for the data folder, which the environment may set.
func dataFlag(c *cobra.Command, into *string) {
	c.Flags().StringVar(into, "data", cmp.Or(os.Getenv("PARLEY_DATA"), config.Defaults().Data), "the server's data folder (PARLEY_DATA)")
}

func printTokens(cmd *cobra.Command, f tokenFlags) (err error) {
	switch {
	case f.user == "":
		return errors.New("whom is the token for? Say it with --user, as in: parley token --user ann")
	case f.count < 1:
		return fmt.Errorf("--count %d: at least 1", f.count)
	case f.count > 1 && !strings.Contains(f.user, counter):
		return fmt.Errorf("--count %d with one user: write {i} where the number goes, as in --user '%s{i}'", f.count, f.user)
	case f.ttl <= 0:
		return fmt.Errorf("--ttl %v: a token needs a time to live, as in --ttl 1h", f.ttl)
	}
	dir, err := datadir.Open(f.data)
	if err != nil {
		return err
	}
	key, created, err := server.TokenKey(dir)
	if err != nil {
		return err
	}
	if created {
		cmd.PrintErrf("There was no key in %s yet, so one was made. If a server runs, it uses another folder: name it with --data.\n", f.data)
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	defer func() { err = errors.Join(err, out.Flush()) }()
	expires := time.Now().Add(f.ttl)
	for i := range f.count {
		token, err := key.Sign(auth.Identity{User: numbered(f.user, i), Name: numbered(f.name, i), Roles: f.roles, Expires: expires})
		if err != nil {
			return err
		}
		if _, err := out.WriteString(token + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func numbered(text string, i int) string {
	return strings.ReplaceAll(text, counter, strconv.Itoa(i))
}
