// Package client is Parley for programs in Go: a connection that comes back by
// itself, continues every subscription after the last message that was handed
// out, and keeps what is published meanwhile.
//
//	c, err := client.Dial(ctx, "wss://example.org/ws", client.WithToken(token))
//	if err != nil { … }
//	defer c.Close()
//	sub, err := c.Subscribe(ctx, "room/+", func(m client.Message) { … })
//	_, err = c.Publish(ctx, "room/1", "chat.line", Line{Text: "hello"})
//	post, err := client.Call[Post](ctx, c, "post.create", NewPost{Title: "Hi"})
//
// All methods may be called concurrently. A handler is called with one message
// at a time, in the order of its topic; it may call the client, but not Close,
// which waits for it.
package client
