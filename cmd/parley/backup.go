package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/server/backup"
)

func backupCommand() *cobra.Command {
	var from remote
	var data, to string
	c := &cobra.Command{
		Use:   "backup --to DIR",
		Short: "Copy everything a server keeps into a new folder",
		Long: "Copy durable topics, sessions, the community and the keys into a new folder, as they are at\n" +
			"one moment. A running server is asked with --url and goes on meanwhile; it wants its API key\n" +
			"in PARLEY_API_KEY. The folder of a stopped one is named with --data. Whoever can read the\n" +
			"backup can be anybody on the server: it has the keys.",
		Example: "  parley backup --to /backup/$(date +%F)\n" +
			"  parley backup --data /var/lib/parley --to /backup/before-update",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := makeBackup(cmd, from, data, to)
			if err != nil {
				return err
			}
			return say(cmd, "%s: %d files, %s, as of %s\n", to, len(list.Files), size(list.Bytes()), list.Made.Format(time.RFC3339))
		},
	}
	from.flags(c)
	_ = c.Flags().MarkHidden("token") // a user's token is not enough; the flag exists, so this cannot fail
	c.Flags().StringVar(&data, "data", "", "the data folder of a server that does not run, in place of --url")
	c.Flags().StringVar(&to, "to", "", "the folder to make")
	_ = c.MarkFlagRequired("to") // as above
	c.MarkFlagsMutuallyExclusive("url", "data")
	return c
}

func makeBackup(cmd *cobra.Command, from remote, data, to string) (*backup.List, error) {
	if data == "" {
		return fetchBackup(cmd.Context(), from, to)
	}
	read, write := io.Pipe()
	made := make(chan error, 1)
	go func() {
		err := backup.WriteStopped(cmd.Context(), write, data, parley.Version(), quietLog(cmd))
		_ = write.CloseWithError(err) // it returns nil
		made <- err
	}()
	list, err := backup.Extract(read, to)
	_ = read.CloseWithError(err) // as above
	if cause := <-made; cause != nil && !errors.Is(cause, io.ErrClosedPipe) {
		return nil, cause
	}
	return list, err
}

// quietLog tells what goes wrong and nothing else.
func quietLog(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError}))
}

func fetchBackup(ctx context.Context, from remote, to string) (list *backup.List, err error) {
	if err := from.credentials(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, from.url+"/api/v1/backup", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("--url %s: %w", from.url, err)
	}
	req.Header.Set("Authorization", "Bearer "+cmp.Or(from.key, from.token))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no server answers at %s (name it with --url, or the folder of a stopped one with --data): %w", from.url, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return nil, errors.Join(refusal(resp.Status, answer), err)
	}
	return backup.Extract(resp.Body, to)
}

func restoreCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "restore BACKUP --data DIR",
		Short: "Make a data folder from a backup",
		Long: "Make a new data folder from what `parley backup` made, and check that nothing in it has\n" +
			"changed. Topics begin a new epoch: clients that have seen messages which are not in the backup\n" +
			"are told that the history is another, and read it again.",
		Example: "  parley restore /backup/2026-11-21 --data /var/lib/parley\n" +
			"  parley serve --data /var/lib/parley",
		Args: cobra.MatchAll(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := backup.Restore(cmd.Context(), args[0], data, quietLog(cmd))
			if err != nil {
				return err
			}
			return say(cmd, "%s: %d files, %s, as of %s\n", data, len(list.Files), size(list.Bytes()), list.Made.Format(time.RFC3339))
		},
	}
	c.Flags().StringVar(&data, "data", "", "the data folder to make")
	_ = c.MarkFlagRequired("data") // the flag exists, so this cannot fail
	return c
}

func say(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return err
}

// size says bytes as people do.
func size(n int64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
