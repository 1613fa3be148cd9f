package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// remote is a running server, as pub and sub reach it.
type remote struct {
	url, key, token string
}

func (r *remote) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.url, "url", cmp.Or(os.Getenv("PARLEY_URL"), urlOf(os.Getenv("PARLEY_ADDR"))), "the server (PARLEY_URL)")
	c.Flags().StringVar(&r.token, "token", "", "a signed-in user's token (PARLEY_TOKEN); without it PARLEY_API_KEY is used")
}

// urlOf is where to reach a server that listens on addr on this machine.
func urlOf(addr string) string {
	host, port, err := net.SplitHostPort(cmp.Or(addr, "127.0.0.1:8080"))
	if err != nil {
		return "http://127.0.0.1:8080"
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// credentials reads secrets from the environment, so that help does not show
// them as defaults.
func (r *remote) credentials() error {
	r.token = cmp.Or(r.token, os.Getenv("PARLEY_TOKEN"))
	r.key, _, _ = strings.Cut(os.Getenv("PARLEY_API_KEY"), ",")
	if r.token == "" && r.key == "" {
		return errors.New("who are you? Set PARLEY_API_KEY to the server's key, or pass a user's token: --token \"$(parley token --user ann)\"")
	}
	r.url = strings.TrimSuffix(r.url, "/")
	return nil
}

const answerTimeout = 15 * time.Second

// post asks the REST API and decodes its answer.
func (r *remote) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("--url %s: %w", r.url, err)
	}
	req.Header.Set("Authorization", "Bearer "+cmp.Or(r.token, r.key))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no server answers at %s (start one with `parley serve`, or name it with --url): %w", r.url, err)
	}
	answer, readErr := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err := errors.Join(readErr, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp.Status, answer)
	}
	return json.Unmarshal(answer, into)
}

// refusal is the server's reason in its own words.
func refusal(status string, answer []byte) error {
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Error.Message == "" {
		return fmt.Errorf("the server answered %s, and not as a Parley does", status)
	}
	return fmt.Errorf("refused (%s): %s", status, said.Error.Message)
}
