package browsertest

import (
	"strings"

	"github.com/chromedp/chromedp"
)

// ctrlEnter sends what stands in a composer.
func ctrlEnter() chromedp.Action[chromedp.Void] {
	return chromedp.KeyEvent("\r", chromedp.KeyModifiers(chromedp.ModifierCtrl))
}

// flat makes a path part of a file's name.
func flat(path string) string { return strings.ReplaceAll(strings.TrimSuffix(path, "/"), "/", "-") }
