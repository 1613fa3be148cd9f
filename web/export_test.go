package web

// Prefer lets tests draw a fixture in another language, theme or zone.
func Prefer(p Page, prefs Preferences) { p.layout().Preferences = prefs }
