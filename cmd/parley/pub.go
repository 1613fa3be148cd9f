package main

import (
	"bufio"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

type pubFlags struct {
	remote

	typ, key string
	retain   bool
}

func pubCommand() *cobra.Command {
	var f pubFlags
	c := &cobra.Command{
		Use:   "pub TOPIC PAYLOAD",
		Short: "Publish to a running server",
		Long: "Publish one message, or with - as the payload every line of the input as one.\n" +
			"A payload that is no JSON is sent as text.",
		Example: "  parley pub public/hello '{\"text\":\"Hello from a shell\"}' --type greeting\n" +
			"  tail -f access.log | parley pub public/log -",
		Args: cobra.MatchAll(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error { return pub(cmd, f, args[0], args[1]) },
	}
	f.flags(c)
	c.Flags().StringVar(&f.typ, "type", "message", "what the payload is, in your application's words")
	c.Flags().StringVar(&f.key, "key", "", "makes a repeat of this command harmless")
	c.Flags().BoolVar(&f.retain, "retain", false, "keep as the topic's last value")
	return c
}

func pub(cmd *cobra.Command, f pubFlags, topic, payload string) error {
	if err := f.credentials(); err != nil {
		return err
	}
	if payload != "-" {
		return pubOne(cmd, f, topic, payload)
	}
	lines := bufio.NewScanner(cmd.InOrStdin())
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := pubOne(cmd, f, topic, lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func pubOne(cmd *cobra.Command, f pubFlags, topic, payload string) error {
	message := map[string]any{"topic": topic, "type": f.typ, "payload": asJSON(payload)}
	if f.key != "" {
		message["key"] = f.key
	}
	if f.retain {
		message["retain"] = true
	}
	var answer json.RawMessage
	if err := f.post(cmd.Context(), "/publish", message, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), string(answer))
	return err
}

func asJSON(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}
