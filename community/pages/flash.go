package pages

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/parleyhq/parley/web"
)

// flash keeps a message for the next page the browser draws. text is a catalogue key.
func (p *Pages) flash(c *gin.Context, kind, text string) {
	p.setCookie(c, flashCookie, kind+":"+text, 60)
}

// takeFlash reads the message kept for this page, once.
func takeFlash(c *gin.Context) *web.Flash {
	value, err := c.Cookie(flashCookie)
	if err != nil {
		return nil
	}
	http.SetCookie(c.Writer, &http.Cookie{Name: flashCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	kind, text, found := strings.Cut(value, ":")
	if !found || kind != "ok" && kind != "error" || len(text) > 60 {
		return nil
	}
	return &web.Flash{Kind: kind, Text: text}
}
