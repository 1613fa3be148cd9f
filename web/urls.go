package web

import "net/url"

// Paths of the pages. GET draws; POST on the same path takes the page's form and redirects
// (303) back. Every POST carries "csrf". {id} is a path parameter.
const (
	PathHome          = "/"                    // ?order=new, ?before=…, ?q=…
	PathCategory      = "/c/{slug}"            // GET
	PathNewPost       = "/new"                 // GET ?category=slug, POST title, body, category (id), key
	PathPost          = "/p/{id}"              // GET; POST body, key, reply_to: a comment. #c<seq> is a comment
	PathPostEdit      = "/p/{id}/edit"         // GET, POST title, body, category
	PathPostDelete    = "/p/{id}/delete"       // POST
	PathMessageEdit   = "/m/{id}/{seq}/edit"   // GET, POST body; id is the conversation
	PathMessageDelete = "/m/{id}/{seq}/delete" // POST
	PathChat          = "/chat"                // GET: ChatIndex
	PathNewRoom       = "/chat/new"            // GET, POST title, description, private=1
	PathRoom          = "/chat/{id}"           // GET ?before=seq; POST body, key, reply_to
	PathMembers       = "/chat/{id}/members"   // POST user (name): adds them to a group
	PathLeave         = "/chat/{id}/leave"     // POST: leaves a group
	PathDirects       = "/direct"              // GET: ChatIndex; POST user (id or name): opens the conversation
	PathDirect        = "/direct/{id}"         // GET ?before=seq, POST body, key, reply_to
	PathNotifications = "/notifications"       // GET ?before=…; POST: all read
	PathNotification  = "/notifications/{id}"  // GET: marks read, redirects to its URL
	PathSignIn        = "/signin"              // GET ?next=, POST name, password, next
	PathSignUp        = "/signup"              // GET ?next=, POST name, display, password, next
	PathSignOut       = "/signout"             // POST
	PathProfile       = "/u/{name}"            // GET
	PathRole          = "/u/{name}/role"       // POST role; admins
	PathClose         = "/u/{name}/close"      // POST closed=1 or 0: closes or opens the account; admins
	PathSettings      = "/settings"            // GET, POST display, bio
	PathPassword      = "/settings/password"   // POST current, password
	PathRevoke        = "/settings/sessions"   // POST id: signs that device out; id=others: all but this one
	PathPreferences   = "/preferences"         // POST lang, theme, back: see Site.SetPreferences
	PathStatic        = "/static/"             // GET: see Site.Assets
	PathSDK           = "/sdk/parley.js"       // GET: the browser SDK
	PathLive          = "/ws"                  // the socket
)

// URLs as the templates build them.

// CategoryURL is the page of a category.
func CategoryURL(slug string) string { return "/c/" + url.PathEscape(slug) }

// PostURL is the page of a post.
func PostURL(id string) string { return "/p/" + url.PathEscape(id) }

// RoomURL is the page of a room or of a direct conversation.
func RoomURL(kind, id string) string {
	if kind == "direct" {
		return "/direct/" + url.PathEscape(id)
	}
	return "/chat/" + url.PathEscape(id)
}

// ProfileURL is the page of a person.
func ProfileURL(name string) string { return "/u/" + url.PathEscape(name) }
