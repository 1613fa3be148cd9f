package web

import (
	"net/http"
	"strings"
	"time"
)

// Preferences are how a reader wants pages drawn. The zero value is English, the system's
// theme and UTC.
type Preferences struct {
	Lang  Lang
	Theme string // "light", "dark", or "auto" for the system's
	Zone  *time.Location
}

// PreferencesOf reads the cookies "lang", "theme" and "tz" (set by SetPreferences and by the
// modules), and Accept-Language where no language was chosen.
func PreferencesOf(r *http.Request) Preferences {
	p := Preferences{Lang: acceptedLang(r.Header.Get("Accept-Language")), Theme: "auto", Zone: time.UTC}
	if c, err := r.Cookie("lang"); err == nil && knownLang(c.Value) {
		p.Lang = Lang(c.Value)
	}
	if c, err := r.Cookie("theme"); err == nil && knownTheme(c.Value) {
		p.Theme = c.Value
	}
	if c, err := r.Cookie("tz"); err == nil && len(c.Value) < 64 && c.Value != "Local" {
		if z, err := time.LoadLocation(c.Value); err == nil {
			p.Zone = z
		}
	}
	return p
}

func knownLang(s string) bool  { return s == string(English) || s == string(Chinese) }
func knownTheme(s string) bool { return s == "light" || s == "dark" || s == "auto" }

// acceptedLang takes the first language of the header that there is a catalogue for; browsers
// send them in order of preference.
func acceptedLang(header string) Lang {
	for part := range strings.SplitSeq(header, ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		tag, _, _ = strings.Cut(strings.ToLower(tag), "-")
		switch tag {
		case "zh":
			return Chinese
		case "en":
			return English
		}
	}
	return English
}

// SetPreferences takes POST lang, theme and back, stores what is valid in cookies for a year and
// returns the reader to back. Nothing but cosmetics can be set, so it needs no CSRF token and
// works before signing in.
func (s *Site) SetPreferences(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if v := r.PostFormValue("lang"); knownLang(v) {
		setPreference(w, r, "lang", v)
	}
	if v := r.PostFormValue("theme"); knownTheme(v) {
		setPreference(w, r, "theme", v)
	}
	http.Redirect(w, r, localPath(r.PostFormValue("back")), http.StatusSeeOther) //nolint:gosec // localPath lets no other origin through
}

func setPreference(w http.ResponseWriter, r *http.Request, name, value string) {
	http.SetCookie(w, &http.Cookie{ // not HttpOnly: the modules set it too, and nothing in it is secret
		Name: name, Value: value, Path: "/", MaxAge: 365 * 24 * 3600,
		SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
}

// localPath keeps redirects on this origin: "//host" and "/\host" are other origins to a browser,
// and so is "/<tab>/host", for tabs and line ends are taken out of an address before it is read.
func localPath(p string) string {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t") {
		return "/"
	}
	return p
}
