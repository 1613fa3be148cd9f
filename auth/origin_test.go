package auth_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parleyhq/parley/auth"
)

func TestCheckOrigin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		public  string
		allowed []string
		r       auth.OriginRequest
		allow   bool
	}{
		{"no page", "", nil, auth.OriginRequest{Host: "chat.example"}, true},
		{"same", "", nil, auth.OriginRequest{Origin: "http://chat.example:8080", Host: "chat.example:8080"}, true},
		{"same, case", "", nil, auth.OriginRequest{Origin: "http://Chat.Example", Host: "CHAT.example"}, true},
		{"same, default port spelt out", "", nil, auth.OriginRequest{Origin: "http://chat.example", Host: "chat.example:80"}, true},
		{"same behind a proxy that ends TLS", "", nil, auth.OriginRequest{Origin: "https://chat.example", Host: "chat.example"}, true},
		{"same, IPv6", "", nil, auth.OriginRequest{Origin: "http://[::1]:8080", Host: "[::1]:8080"}, true},
		{"same, TLS here", "", nil, auth.OriginRequest{Origin: "https://chat.example", Host: "chat.example", TLS: true}, true},
		{"plain page to TLS", "", nil, auth.OriginRequest{Origin: "http://chat.example", Host: "chat.example", TLS: true}, false},
		{"other port", "", nil, auth.OriginRequest{Origin: "http://chat.example:3000", Host: "chat.example:8080"}, false},
		{"other host", "", nil, auth.OriginRequest{Origin: "http://evil.example", Host: "chat.example"}, false},
		{"prefix of the host", "", nil, auth.OriginRequest{Origin: "http://chat.example.evil.example", Host: "chat.example"}, false},
		{"userinfo trick", "", nil, auth.OriginRequest{Origin: "http://chat.example@evil.example", Host: "chat.example"}, false},
		{"opaque origin", "", nil, auth.OriginRequest{Origin: "null", Host: "chat.example"}, false},
		{"garbage", "", nil, auth.OriginRequest{Origin: "://", Host: "chat.example"}, false},
		{"wildcard sent by the peer", "", nil, auth.OriginRequest{Origin: "http://*.example.com", Host: "*.example.com"}, false},
		{
			"forwarded host of a stranger", "", nil,
			auth.OriginRequest{Origin: "https://evil.example", Host: "chat.example", ForwardedHost: "evil.example"},
			false,
		},
		{
			"forwarded host of our proxy", "", nil,
			auth.OriginRequest{Origin: "https://chat.example", Host: "10.0.0.3:8080", ForwardedHost: "chat.example, 10.0.0.2", ForwardedProto: "https", Trusted: true},
			true,
		},
		{
			"forwarded scheme of our proxy", "", nil,
			auth.OriginRequest{Origin: "http://chat.example", Host: "chat.example", ForwardedProto: "https", Trusted: true},
			false,
		},
		{"public URL", "https://chat.example/app", nil, auth.OriginRequest{Origin: "https://chat.example", Host: "10.0.0.3:8080"}, true},
		{"public URL beats Host", "https://chat.example", nil, auth.OriginRequest{Origin: "http://10.0.0.3:8080", Host: "10.0.0.3:8080"}, false},
		{"listed", "", []string{"https://app.example"}, auth.OriginRequest{Origin: "https://app.example", Host: "chat.example"}, true},
		{"listed, other scheme", "", []string{"https://app.example"}, auth.OriginRequest{Origin: "http://app.example", Host: "chat.example"}, false},
		{"same beside the list", "", []string{"https://app.example"}, auth.OriginRequest{Origin: "http://chat.example", Host: "chat.example"}, true},
		{"subdomain", "", []string{"https://*.example.com"}, auth.OriginRequest{Origin: "https://a.b.example.com", Host: "x"}, true},
		{"subdomain is not the domain", "", []string{"https://*.example.com"}, auth.OriginRequest{Origin: "https://example.com", Host: "x"}, false},
		{"subdomain look-alike", "", []string{"https://*.example.com"}, auth.OriginRequest{Origin: "https://badexample.com", Host: "x"}, false},
		{"subdomain with port", "", []string{"https://*.example.com:8443"}, auth.OriginRequest{Origin: "https://a.example.com:8443", Host: "x"}, true},
		{"anybody", "", []string{"*"}, auth.OriginRequest{Origin: "null", Host: "x"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, err := auth.NewOrigins(tt.public, tt.allowed...)
			if err != nil {
				t.Fatal(err)
			}
			err = auth.CheckOrigin(tt.r, o)
			if (err == nil) != tt.allow {
				t.Fatalf("%v, want allowed %v", err, tt.allow)
			}
			if err != nil && auth.Code(err) != auth.CodeOrigin {
				t.Errorf("code %q", auth.Code(err))
			}
		})
	}
}

func TestOriginRefusalNamesBoth(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	r.Host = "chat.example"
	r.TLS = &tls.ConnectionState{}
	r.Header.Set("Origin", "https://evil.example")
	err := auth.CheckOrigin(auth.OriginRequestOf(r, false), &auth.Origins{})
	for _, want := range []string{`"https://evil.example"`, `"https://chat.example"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestNewOriginsRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"app.example", "ftp://app.example", "https://", "https://a.example/path", "https://*", "https://*.com", "https://a.*.example", "https://*.1.2.3.4"} {
		if _, err := auth.NewOrigins("", bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("allowed origin %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"chat.example", "https://*.example.com", "://"} {
		if _, err := auth.NewOrigins(bad); err == nil {
			t.Errorf("public URL %q was accepted", bad)
		}
	}
}
