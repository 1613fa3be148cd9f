package pages

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/community/account"
	"github.com/parleyhq/parley/community/fault"
)

// Cookies of the pages. None can be read by scripts.
const (
	sessionCookie = "parley_session"
	visitorCookie = "parley_visitor" // ties the forms of who is not signed in to their browser
	flashCookie   = "parley_flash"
)

const identityKey = "parley/community.signed-in"

// Identify finds who the session cookie belongs to and keeps it for the handlers after it. A
// missing or ended session passes as a visitor.
func (p *Pages) Identify(c *gin.Context) {
	if _, known := c.Get(identityKey); known {
		return
	}
	token, err := c.Cookie(sessionCookie)
	if err != nil {
		return
	}
	in, err := p.Accounts.Who(c.Request.Context(), token)
	switch f, refused := fault.Of(err); {
	case err == nil:
		c.Set(identityKey, in)
		if in.Renewed {
			p.setCookie(c, sessionCookie, token, int(account.SessionLife.Seconds()))
		}
	case refused && f.Kind == fault.SignedOut:
		p.setCookie(c, sessionCookie, "", -1)
	default:
		p.Log.ErrorContext(c, "session could not be read", "request", requestID(c), "error", err)
	}
}

// SignedIn answers who the request belongs to, after Identify.
func SignedIn(c *gin.Context) (account.SignedIn, bool) { return signedIn(c) }

func signedIn(c *gin.Context) (account.SignedIn, bool) {
	v, ok := c.Get(identityKey)
	if !ok {
		return account.SignedIn{}, false
	}
	in, ok := v.(account.SignedIn)
	return in, ok
}

// actor is the handle of who the request belongs to, "" for a visitor.
func actor(c *gin.Context) string {
	in, _ := signedIn(c)
	return in.User.Handle
}

// member answers who the request belongs to, or asks to sign in.
func member(c *gin.Context) (account.SignedIn, error) {
	in, ok := signedIn(c)
	if !ok {
		return in, fault.New(fault.SignedOut, fault.NeedSignIn)
	}
	return in, nil
}

// guard refuses forms that another site sent, twice over: by where the browser says they come
// from, and by a token only our own pages know.
func (p *Pages) guard(c *gin.Context) {
	switch c.Request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return
	}
	if c.Request.URL.Path == "/preferences" {
		return // cosmetics; works before there is a token
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, mostForm)
	err := p.sameOrigin.Check(c.Request)
	if err == nil {
		given := c.GetHeader("X-CSRF-Token")
		if given == "" {
			given = c.PostForm("csrf")
		}
		if want := tokenFor(formSecret(c)); want != "" && hmac.Equal([]byte(given), []byte(want)) {
			return
		}
	}
	c.Abort()
	p.refuse(c, fault.New(fault.Forbidden, fault.ForeignForm))
}

// formSecret is what a form's token is made from: the session, or the visitor's cookie.
func formSecret(c *gin.Context) string {
	name := visitorCookie
	if _, ok := signedIn(c); ok {
		name = sessionCookie
	}
	secret, err := c.Cookie(name)
	if err != nil {
		return ""
	}
	return secret
}

func tokenFor(secret string) string {
	if secret == "" {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("parley form token"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// formToken is the token of the forms on the page being drawn.
func (p *Pages) formToken(c *gin.Context) string {
	secret := formSecret(c)
	if secret == "" {
		secret = rand.Text()
		p.setCookie(c, visitorCookie, secret, 0)
	}
	return tokenFor(secret)
}

// setCookie sets a cookie of ours: 0 seconds lasts as long as the browser is open, -1 deletes.
func (p *Pages) setCookie(c *gin.Context, name, value string, seconds int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: c.Request.TLS != nil || strings.HasPrefix(p.PublicURL, "https://"),
	})
}

// browser tells where a request comes from, as Gin's trusted proxies say.
func browser(c *gin.Context) account.Browser {
	address := c.ClientIP()
	if ip := net.ParseIP(address); ip != nil && ip.To4() == nil {
		address = ip.Mask(net.CIDRMask(64, 128)).String() // a household has a whole /64
	}
	return account.Browser{Address: address, Agent: c.Request.UserAgent()}
}

// localPath keeps redirects on this site: "//host" and "/\host" are other sites to a browser.
func localPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// originOf is the scheme and host of an address.
func originOf(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("pages: public URL %q must look like https://talk.example.org", address)
	}
	return u.Scheme + "://" + u.Host, nil
}
