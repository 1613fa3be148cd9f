package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/client"
)

type subFlags struct {
	remote

	user  string
	roles []string
	count int
}

func subCommand() *cobra.Command {
	var f subFlags
	c := &cobra.Command{
		Use:   "sub FILTER...",
		Short: "Print what is published on a running server",
		Long: "Print messages as they come, one JSON object a line, until interrupted. A lost connection is taken\n" +
			"up again where it was.",
		Example: "  parley sub public/#\n" +
			"  parley sub public/hello --count 1 | jq .payload.text",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, filters []string) error { return sub(cmd, f, filters) },
	}
	f.flags(c)
	c.Flags().StringVar(&f.user, "user", "cli", "with an API key: whom to be")
	c.Flags().StringArrayVar(&f.roles, "role", nil, "with an API key: a role to have; may be repeated")
	c.Flags().IntVar(&f.count, "count", 0, "end after so many messages; 0 for never")
	return c
}

// printed is a message as sub shows it.
type printed struct {
	Topic   string            `json:"topic"`
	Seq     uint64            `json:"seq,omitempty"`
	ID      string            `json:"id"`
	Type    string            `json:"type,omitempty"`
	From    string            `json:"from,omitempty"`
	Time    int64             `json:"time"`
	Payload json.RawMessage   `json:"payload,omitempty"`
	Data    []byte            `json:"data,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

func sub(cmd *cobra.Command, f subFlags, filters []string) (err error) {
	if err := f.credentials(); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	who := client.WithToken(f.token)
	if f.token == "" {
		who = client.WithTicketFunc(f.ticket)
	}
	dialing, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c, err := client.Dial(dialing, f.url+"/ws", who, client.WithDevice("parley sub"),
		client.OnGap(func(g client.Gap) { cmd.PrintErrf("messages on %s were lost\n", g.Topic) }),
		client.OnState(func(s client.State) {
			if s.Status == client.Closed {
				stop(fmt.Errorf("the server ended the connection: %s", s.Reason))
			}
		}))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", f.url, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	messages := make(chan client.Message, 64)
	for _, filter := range filters {
		_, err := c.Subscribe(dialing, filter, func(m client.Message) {
			select {
			case messages <- m:
			case <-ctx.Done():
			}
		})
		if err != nil {
			return err
		}
	}
	return show(ctx, cmd, messages, f.count)
}

func show(ctx context.Context, cmd *cobra.Command, messages <-chan client.Message, count int) error {
	out := json.NewEncoder(cmd.OutOrStdout())
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil // a signal: that is how one ends it
		case m := <-messages:
			err := out.Encode(printed{m.Topic, m.Seq, m.ID, m.Type, m.From, m.Time.UnixMilli(), m.Payload, m.Data, m.Headers})
			if err != nil || n == count {
				return err
			}
		}
	}
}

// ticket lets the holder of the API key in as a user.
func (f *subFlags) ticket(ctx context.Context) (string, error) {
	var answer struct {
		Ticket string `json:"ticket"`
	}
	err := f.post(ctx, "/ticket", map[string]any{"user": f.user, "roles": f.roles}, &answer)
	return answer.Ticket, err
}
