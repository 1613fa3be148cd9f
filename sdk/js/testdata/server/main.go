// Command server is what the JavaScript client's tests talk to: a real Parley
// with the user's name as token. It prints its address and ends with its
// standard input. An argument is how often clients are pinged, and how long they
// have to answer; a second without it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley"
	"github.com/parleyhq/parley/auth"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// verify takes the token for the user's name. One that ends in -old has
// expired, one that ends in -brief is about to.
func verify(_ context.Context, token string) (auth.Identity, error) {
	name, kind, _ := strings.Cut(token, "-")
	id := auth.Identity{User: name, Expires: time.Now().Add(time.Hour)}
	switch kind {
	case "old":
		return auth.Identity{}, &auth.Error{Code: auth.CodeTokenExpired, Message: "this token has expired"}
	case "brief":
		id.Expires = time.Now().Add(1500 * time.Millisecond)
	case "forged":
		return auth.Identity{}, &auth.Error{Code: auth.CodeTokenInvalid, Message: "this token is not ours"}
	}
	return id, nil
}

type question struct {
	Text string `json:"text" validate:"required"`
}

func run() error {
	heartbeat := time.Second
	if len(os.Args) > 1 {
		var err error
		if heartbeat, err = time.ParseDuration(os.Args[1]); err != nil {
			return err
		}
	}
	live, err := parley.Open(
		parley.WithVerifier(auth.VerifierFunc(verify)),
		parley.WithTopic("public/#", parley.TopicSettings{History: 1000, HistoryAge: time.Minute, KeyWindow: time.Minute}),
		parley.WithTopic("public/short", parley.TopicSettings{History: 2, HistoryAge: time.Minute}),
		parley.WithTopic("public/pressed", parley.TopicSettings{History: 1000, HistoryAge: time.Minute, Pressure: parley.PressureDropOldest}),
		parley.WithHeartbeat(heartbeat, heartbeat),
		parley.WithCompression(0),
	)
	if err != nil {
		return err
	}
	parley.On(live, "question", func(_ *parley.Ctx, q question) (question, error) {
		return question{Text: strings.ToUpper(q.Text)}, nil
	})
	parley.On(live, "hint", func(c *parley.Ctx, q question) (question, error) {
		return q, live.SendUser(c, c.User(), "hint", q)
	})
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/ws", live.Handler())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println(listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // its end is our sign
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	err = errors.Join(live.Shutdown(ctx), server.Shutdown(ctx))
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
