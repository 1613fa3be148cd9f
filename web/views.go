package web

import (
	"html/template"
	"time"
)

// Layout is what every page shows around its own content. Fill it once per request.
type Layout struct {
	// Preferences of the reader; take them from [PreferencesOf] and overlay what the account stores.
	Preferences
	// Title of the page without the community's name. Empty on the front page.
	Title string
	// Path is the request's path with query: it marks the current entry of the navigation and is
	// where the language and theme forms come back to.
	Path string
	// User is the signed-in person, nil for a visitor.
	User *Person
	// CSRF is the token every form posts as "csrf" and the modules send as X-CSRF-Token.
	CSRF string
	// Unread counts of the navigation.
	Unread Unread
	// Categories, Rooms (joined or public, at most 50) and Directs (latest 20) fill the left column
	// on every page; the modules also subscribe to the rooms to keep the counts live.
	Categories []Category
	Rooms      []Room
	Directs    []Room
	// Online people, at most 30, and how many there are in all.
	Online      []Person
	OnlineCount int
	// Flash is shown once as a toast (set before a redirect, read after it).
	Flash *Flash
	// LiveURL is the socket's path; empty switches the live parts off.
	LiveURL string
	// Feed is the position of [TopicFeed] read before the page's state was loaded.
	Feed Position

	site *Site
}

// Unread counts. Chat and Direct count conversations' messages, Notifications unread items.
type Unread struct {
	Notifications int `json:"notifications"`
	Chat          int `json:"chat"`
	Direct        int `json:"direct"`
}

// Flash is a message shown once. Text is a catalogue key or plain text; Kind "ok" or "error".
type Flash struct {
	Kind string
	Text string
}

// Person is a member as drawn everywhere. In JSON it also carries "hue" (0–11) and "initials".
type Person struct {
	ID      string `json:"id"`
	Name    string `json:"name"`    // the handle used in URLs and @mentions
	Display string `json:"display"` // the name shown; Name when empty
	Role    string `json:"role"`    // "member", "moderator" or "admin"
	Online  bool   `json:"online"`
}

// Position is where a live topic stood before the page's state was read; the modules subscribe
// from there. The zero value subscribes from now.
type Position struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Category of the forum. Hue 0–11 colours its dot; Unread may stay 0.
type Category struct {
	ID          string `json:"id"`
	Slug        string `json:"slug"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Hue         int    `json:"hue"`
	Posts       int    `json:"posts"`
}

// PostSummary is one row of a list of posts, and the payload of the feed's post.created and
// post.updated events.
type PostSummary struct {
	ID         string    `json:"id"`
	Title      string    `json:"title"`
	Excerpt    string    `json:"excerpt"` // plain text, about 160 characters
	Author     Person    `json:"author"`
	Category   Category  `json:"category"`
	Comments   int       `json:"comments"`
	Created    time.Time `json:"created"`
	LastAt     time.Time `json:"last_at"`     // last comment, or Created
	LastAuthor Person    `json:"last_author"` // who wrote it
	Unread     int       `json:"unread"`      // comments the reader has not seen
	New        bool      `json:"new"`         // the reader has never opened it
	Pinned     bool      `json:"pinned"`
	Locked     bool      `json:"locked"`
	// People are up to four who took part, for the row's avatars.
	People []Person `json:"people"`
}

// Message is a comment, a chat line or a direct message, and the payload of the live events
// message.created and message.edited.
type Message struct {
	Conversation string        `json:"conversation"`
	Seq          uint64        `json:"seq"`
	ID           string        `json:"id"`
	Author       Person        `json:"author"`
	HTML         template.HTML `json:"html"` // sanitised; never the raw body
	Body         string        `json:"body"` // the source, for the edit form
	Created      time.Time     `json:"created"`
	Edited       bool          `json:"edited"`
	Deleted      bool          `json:"deleted"` // HTML and Body are empty
	ReplyTo      *Quote        `json:"reply_to,omitempty"`
	Key          string        `json:"key,omitempty"` // the sender's idempotency key: its own tab settles the pending line by it
	// Mentions are user ids named in the text; the reader's own line is marked.
	Mentions []string `json:"mentions,omitempty"`
	// CanEdit and CanDelete hold for the reader of the page; leave them false in live events, where
	// the modules decide by author and role.
	CanEdit   bool `json:"can_edit,omitempty"`
	CanDelete bool `json:"can_delete,omitempty"`
	// Place is where the message stands in the conversation's topic; nil when it has just been stored.
	Place *Position `json:"place,omitempty"`
	// Reach is how many others have it, for its author where that is told in numbers.
	Reach *Reach `json:"reach,omitempty"`
}

// Reach counts the people besides its author who have got a message, and who have read it.
type Reach struct {
	Delivered int `json:"delivered"`
	Read      int `json:"read"`
}

// Receipts are how far the others in a conversation have got.
type Receipts struct {
	// Told is "who", "count", or "" when nothing is told.
	Told string `json:"told"`
	// Live tells the modules to ask Parley too, and to say how far the reader has got.
	Live bool `json:"live"`
	// People are the others, when names are told. Numbers stand with the messages.
	People []Reader `json:"people,omitempty"`
}

// Reader is how far one person has got: up to which Seq all messages have reached them, and up to
// which they have read them.
type Reader struct {
	ID        string `json:"id"`
	Display   string `json:"display"`
	Delivered uint64 `json:"delivered"`
	Read      uint64 `json:"read"`
}

// Quote is the message a reply answers, shortened.
type Quote struct {
	Seq     uint64 `json:"seq"`
	Author  Person `json:"author"`
	Excerpt string `json:"excerpt"` // plain text, about 100 characters
}

// Room is a chat room, a private group or a direct conversation in a list.
type Room struct {
	ID          string    `json:"id"`
	Kind        string    `json:"kind"` // "room", "group" or "direct"
	Title       string    `json:"title"`
	Description string    `json:"description"`
	Peer        *Person   `json:"peer,omitempty"` // the other person of a direct conversation
	Joined      bool      `json:"joined"`         // the reader is a member: only then the modules count what is unread
	Unread      int       `json:"unread"`
	LastSeq     uint64    `json:"last_seq"`
	LastAt      time.Time `json:"last_at"`
	LastText    string    `json:"last_text"` // plain text of the last message, shortened
	Members     int       `json:"members"`
}

// Thread is the live list of messages of a post, a room or a direct conversation.
type Thread struct {
	Conversation string
	Messages     []Message // the newest page, oldest first
	More         bool      // older ones exist
	// ReadSeq is the reader's cursor: the "new" divider stands after it. For a visitor set it to
	// the last seq.
	ReadSeq  uint64
	LastSeq  uint64
	Position Position // of TopicConversation(Conversation), read before Messages
	Members  []Person // for mentions: room members, or the post's participants
	Receipts Receipts
	CanSend  bool
	Draft    string // text of a form that was refused
	Error    string // why it was refused: catalogue key or text
}

// Home is the front page: posts of all categories. Order is "active" or "new"; Next is the URL
// of the following page or empty. Query is the search text when the list answers a search.
type Home struct {
	Layout
	Order string
	Posts []PostSummary
	Next  string
	Query string
}

// CategoryPage lists one category's posts.
type CategoryPage struct {
	Layout
	Category Category
	Order    string
	Posts    []PostSummary
	Next     string
}

// PostPage is a post with its comments.
type PostPage struct {
	Layout
	Post   Post
	Thread Thread
	// Latest are a few other posts for the right column.
	Latest []PostSummary
}

// Post is the opening text of a discussion.
type Post struct {
	ID        string
	Title     string
	HTML      template.HTML // sanitised
	Author    Person
	Category  Category
	Created   time.Time
	Edited    bool
	Locked    bool
	Comments  int
	CanEdit   bool
	CanDelete bool
}

// PostForm writes or edits a post. ID is empty for a new one. Errors are keyed by field
// ("title", "body", "category", "" for the whole form) with a catalogue key or text.
type PostForm struct {
	Layout
	ID  string
	Key string // idempotency key, kept over a refused form
	PostTitle,
	Body,
	CategoryID string
	Errors map[string]string
}

// MessageForm edits a message without JavaScript.
type MessageForm struct {
	Layout
	Message Message
	Back    string
	Errors  map[string]string
}

// Chat is a room, a group or a direct conversation (Room.Kind says which).
type Chat struct {
	Layout
	Room   Room
	Thread Thread
	// CanInvite shows the form that adds somebody to a group, and the button to leave it.
	CanInvite bool
}

// ChatIndex is the chat or direct page on which nothing is chosen: the list of rooms on phones,
// an invitation elsewhere. People are those one can write to. Kind is "room" or "direct".
type ChatIndex struct {
	Layout
	Kind   string
	People []Person
}

// RoomForm creates a room. Errors as in PostForm ("title", "description", "").
type RoomForm struct {
	Layout
	RoomTitle, Description string
	Private                bool
	Errors                 map[string]string
}

// Notification is one line of the inbox, and the payload of notification.created.
// Kind is "comment", "reply", "mention", "direct" or "system".
type Notification struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Actor   Person    `json:"actor"`
	Title   string    `json:"title"` // of the post or room
	Excerpt string    `json:"excerpt"`
	URL     string    `json:"url"` // opening it marks it read
	Created time.Time `json:"created"`
	Read    bool      `json:"read"`
}

// Notifications is the inbox.
type Notifications struct {
	Layout
	Items []Notification
	Next  string
}

// SignIn and SignUp carry back what was typed. Next is the path to return to; Errors are keyed by
// field ("name", "display", "password", "").
type SignIn struct {
	Layout
	Next, Name string
	Errors     map[string]string
	// Hint is shown on a fresh installation: how to sign in for the first time.
	Hint string
}

// SignUp creates an account; see SignIn.
type SignUp struct {
	Layout
	Next, Name, DisplayName string
	Errors                  map[string]string
}

// Profile of a person.
type Profile struct {
	Layout
	Person   Person
	Bio      template.HTML
	Joined   time.Time
	LastSeen time.Time // zero: unknown
	PostsN   int
	CommentN int
	Posts    []PostSummary
	IsSelf   bool
	// Govern shows an admin what they may change about the person; nil for everybody else.
	Govern *Govern
}

// Govern is what an admin may change about a person: their role (one of Roles), and whether the
// account is closed.
type Govern struct {
	Roles  []string
	Closed bool
}

// Settings of the signed-in person. Errors are keyed by field ("display", "bio", "current",
// "password", "").
type Settings struct {
	Layout
	DisplayName string
	BioSource   string
	Sessions    []Session
	Errors      map[string]string
}

// Session is a signed-in device.
type Session struct {
	ID       string
	Device   string // "Firefox on Linux"
	Address  string
	Created  time.Time
	LastSeen time.Time
	Current  bool
}

// ErrorPage tells what went wrong and what to do. Detail is a catalogue key or text fit for the
// reader; empty falls back on the status.
type ErrorPage struct {
	Layout
	Status    int
	Detail    string
	RequestID string
}

func (p *Home) page() string          { return "home" }
func (p *CategoryPage) page() string  { return "category" }
func (p *PostPage) page() string      { return "post" }
func (p *PostForm) page() string      { return "postform" }
func (p *MessageForm) page() string   { return "messageform" }
func (p *Chat) page() string          { return "chat" }
func (p *ChatIndex) page() string     { return "chatindex" }
func (p *RoomForm) page() string      { return "roomform" }
func (p *Notifications) page() string { return "notifications" }
func (p *SignIn) page() string        { return "signin" }
func (p *SignUp) page() string        { return "signup" }
func (p *Profile) page() string       { return "profile" }
func (p *Settings) page() string      { return "settings" }
func (p *ErrorPage) page() string     { return "error" }

func (l *Layout) layout() *Layout { return l }
