package auth

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// OriginRequest is what a request says about where it comes from. It is plain
// data so that the check can be tested without a network.
type OriginRequest struct {
	Origin string // the Origin header; browsers send it with every WebSocket handshake
	Host   string // the Host the request was sent to
	TLS    bool   // this process ended the TLS connection
	// ForwardedHost and ForwardedProto are what a proxy reports. They are
	// believed only when Trusted says that the direct peer is a proxy of ours,
	// because anybody can write these headers.
	ForwardedHost  string
	ForwardedProto string
	Trusted        bool
}

// OriginRequestOf collects an OriginRequest from r. Trusted must be true only
// when the direct peer, r.RemoteAddr, is on the list of trusted proxies.
func OriginRequestOf(r *http.Request, trusted bool) OriginRequest {
	return OriginRequest{
		Origin:         r.Header.Get("Origin"),
		Host:           r.Host,
		TLS:            r.TLS != nil,
		ForwardedHost:  r.Header.Get("X-Forwarded-Host"),
		ForwardedProto: r.Header.Get("X-Forwarded-Proto"),
		Trusted:        trusted,
	}
}

// Origins is the list of pages that may connect. The zero value means the same
// origin only. It is safe for concurrent use.
type Origins struct {
	public  *site
	allowed []site
	any     bool
}

// site is one origin, or all subdomains of one.
type site struct {
	scheme, host, port string
	subdomains         bool
	text               string
}

// NewOrigins makes the list.
//
// PublicURL is the address people open, for a server behind a proxy that
// rewrites Host; with it the request's own Host counts for nothing. Empty means
// that the Host of the request is the truth.
//
// Each of allowed is a whole origin ("https://app.example.com"), all subdomains
// of one ("https://*.example.com", at any depth, without the domain itself), or
// "*" for any page whatever, which is safe only where no cookie signs people in.
func NewOrigins(publicURL string, allowed ...string) (*Origins, error) {
	o := &Origins{}
	if publicURL != "" {
		u, err := url.Parse(publicURL)
		if err != nil {
			return nil, fmt.Errorf("public URL %q: %w", publicURL, err)
		}
		s, err := parseSite(u.Scheme + "://" + u.Host)
		if err != nil || s.subdomains {
			return nil, fmt.Errorf("public URL %q: write it as https://chat.example.com", publicURL)
		}
		o.public = &s
	}
	for _, a := range allowed {
		if a == "*" {
			o.any = true
			continue
		}
		s, err := parseSite(a)
		if err != nil {
			return nil, fmt.Errorf("allowed origin %q: %w", a, err)
		}
		o.allowed = append(o.allowed, s)
	}
	return o, nil
}

// Any reports whether the list has "*": any page may connect.
func (o *Origins) Any() bool { return o.any }

// CheckOrigin refuses a request that a page of another site made. A request
// without an Origin does not come from a page and passes: it cannot carry
// somebody's cookies without their will. The refusal names both the origin that
// came and the one that was expected.
func CheckOrigin(r OriginRequest, o *Origins) error {
	if r.Origin == "" || o.any {
		return nil
	}
	from, err := parseSite(r.Origin)
	if err != nil || from.subdomains {
		return refusedOrigin(r.Origin, o.expected(r))
	}
	for _, s := range o.allowed {
		if s.matches(from) {
			return nil
		}
	}
	if o.public != nil && o.public.matches(from) || o.public == nil && sameOrigin(from, r) {
		return nil
	}
	return refusedOrigin(r.Origin, o.expected(r))
}

func refusedOrigin(got, want string) error {
	return &Error{
		Code: CodeOrigin,
		Message: fmt.Sprintf("a page of %q may not connect to %q: if that page is yours, add it to the allowed origins, "+
			"or set the public URL when a proxy stands in front", got, want),
	}
}

// expected is the origin that would have passed, for the refusal.
func (o *Origins) expected(r OriginRequest) string {
	if o.public != nil {
		return o.public.text
	}
	host, proto := r.target()
	if proto == "" {
		proto = "http"
		if r.TLS {
			proto = "https"
		}
	}
	return proto + "://" + host
}

// target is the host the browser asked for and the scheme it used; the scheme
// is "" when this server cannot know it.
func (r OriginRequest) target() (host, proto string) {
	host = r.Host
	if r.TLS {
		proto = "https"
	}
	if r.Trusted {
		// A chain of proxies appends: the first value is the browser's.
		if h := firstOf(r.ForwardedHost); h != "" {
			host = h
		}
		if p := strings.ToLower(firstOf(r.ForwardedProto)); p == "http" || p == "https" {
			proto = p
		}
	}
	return host, proto
}

func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// sameOrigin compares with the host that was asked for. Without TLS here the
// scheme is unknown (a proxy may have ended TLS), so then the origin's own
// scheme decides what a missing port means.
func sameOrigin(from site, r OriginRequest) bool {
	host, proto := r.target()
	if proto == "" {
		proto = from.scheme
	}
	want, err := parseSite(proto + "://" + host)
	return err == nil && !want.subdomains && want.matches(from)
}

func parseSite(s string) (site, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return site{}, err
	case u.Scheme != "http" && u.Scheme != "https":
		return site{}, errors.New("write it with its scheme, as https://app.example.com")
	case u.Hostname() == "":
		return site{}, errors.New("it names no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/"):
		return site{}, errors.New("an origin is scheme, host and port only")
	}
	out := site{scheme: u.Scheme, host: strings.ToLower(u.Hostname()), port: u.Port()}
	if out.port == "" {
		out.port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	out.text = u.Scheme + "://" + u.Host
	if rest, ok := strings.CutPrefix(out.host, "*."); ok {
		out.host, out.subdomains = rest, true
	}
	if strings.Contains(out.host, "*") || out.subdomains && (net.ParseIP(out.host) != nil || !strings.Contains(out.host, ".")) {
		return site{}, errors.New("a wildcard stands only for subdomains, as in https://*.example.com")
	}
	return out, nil
}

func (s site) matches(from site) bool {
	if s.scheme != from.scheme || s.port != from.port {
		return false
	}
	if s.subdomains {
		return strings.HasSuffix(from.host, "."+s.host)
	}
	return s.host == from.host
}
