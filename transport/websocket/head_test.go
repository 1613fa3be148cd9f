package websocket

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"reflect"
	"testing"
)

// Whatever a head is taken for here, net/http takes it for, too, with nothing in
// it that we have not seen.
func FuzzHead(f *testing.F) {
	const good = "GET /ws HTTP/1.1\r\nHost: a.example:80\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://a.example\r\n" +
		"Sec-WebSocket-Protocol: parley.v1.json\r\nSec-WebSocket-Extensions: permessage-deflate\r\nUser-Agent: x\r\n\r\nmore"
	for _, seed := range []string{
		good, good[:60], "GET /ws HTTP/1.1\r\nhost:a\r\n\r\n", "GET /ws HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET /ws HTTP/1.1\r\nHost: a\r\nAccept: a\r\n b\r\n\r\n",
		"GET /ws HTTP/1.1\r\nHost : a\r\n\r\n", "GET /ws HTTP/1.1\r\nHost: a\nOrigin: b\r\n\r\n", "GET /ws HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	first := firstLine("/ws")
	f.Fuzz(func(t *testing.T, data []byte) {
		var h head
		rest, ok := h.parse(first, data)
		if !ok {
			return
		}
		in := bufio.NewReader(bytes.NewReader(data))
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		if r.Method != http.MethodGet || r.RequestURI != "/ws" || r.Proto != "HTTP/1.1" || r.Host != h.host || r.Header.Get("Origin") != h.origin {
			t.Fatalf("%+v, not %+v", r, h)
		}
		if want := requestOf(r.Header); !reflect.DeepEqual(want, h.request) {
			t.Fatalf("%+v, not %+v", want, h.request)
		}
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 || len(r.Cookies()) > 0 {
			t.Fatalf("%+v has more than a head", r)
		}
		for _, name := range []string{"Authorization", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Expect", "Content-Length"} {
			if len(r.Header[name]) > 0 {
				t.Fatalf("%s was passed over", name)
			}
		}
		if behind, _ := io.ReadAll(in); !bytes.Equal(behind, rest) {
			t.Fatalf("behind it: %q, not %q", behind, rest)
		}
	})
}
