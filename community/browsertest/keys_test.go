package browsertest

import (
	"context"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// focused makes a page believe that somebody looks at it, as on a screen.
func focused() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	})
}

// offline is a network condition of a browser, as its developer tools set it.
type offline struct {
	Offline            bool    `json:"offline"`
	Latency            float64 `json:"latency"`
	DownloadThroughput float64 `json:"downloadThroughput"`
	UploadThroughput   float64 `json:"uploadThroughput"`
}

// network takes a browser off the network, or puts it back. The command is the one that every
// automation library uses; it also changes navigator.onLine.
func network(on bool) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		command := cdp.Command[offline, cdp.Empty]{Method: "Network.emulateNetworkConditions"}
		_, err := cdp.Call(ctx, t, command, offline{Offline: !on, DownloadThroughput: -1, UploadThroughput: -1})
		return err
	})
}

// ctrlEnter sends what stands in a composer.
func ctrlEnter() chromedp.Action[chromedp.Void] {
	return chromedp.KeyEvent("\r", chromedp.KeyModifiers(chromedp.ModifierCtrl))
}

// flat makes a path part of a file's name.
func flat(path string) string { return strings.ReplaceAll(strings.TrimSuffix(path, "/"), "/", "-") }
