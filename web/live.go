package web

// What the modules say and hear over the socket. Payload fields are the JSON of the structs in
// views.go; every call answers at once or with an error whose message can be shown.
//
// Calls (parley.On on the server)
//
//	message.send    {conversation, key, body, reply_to?}  → Message (the stored one; a repeat of key: the first)
//	message.edit    {conversation, seq, body}             → Message
//	message.delete  {conversation, seq}                   → {}
//	history.load    {conversation, before, limit?}        → {messages: [Message], more}   oldest first
//	read.mark       {conversation, seq}                   → {seq, unread: Unread}   cursors only move forward; also where there are no receipts
//	typing          {conversation}                        → {}   sent at most every 3 s while typing
//	post.create     {category, title, body, key}          → {id, url}
//	people.get      {ids}                                 → {people: [Person]}   at most 50
//	people.find     {query}                               → {people: [Person]}   at most 10, by prefix of name
//	notification.read {id} or {} for all                  → {unread: Unread}
//
// Events on topics
//
//	community/c/<id>          message.created Message · message.edited Message · message.deleted {conversation, seq, by}
//	community/c/<id>/typing   typing {conversation, user: Person}      ephemeral, not to the sender's session
//	community/feed            post.created PostSummary · post.updated PostSummary · post.deleted {id}
//	community/online          presence only: who has a page open
//	community/announcements   announcement {text}: what operators say to everybody, usually over REST
//
// Where a thread says so (Receipts.Live), the page follows its conversation with QoS 1 and receipts, and
// says with the read command how far its reader has got: see docs/protocol.md, "Receipts". Positions of
// the topic and seqs of messages are not the same, for edits have positions, too: Message.Place is
// where a message stands.
//
// Events to one person (SendUser; all devices)
//
//	notification.created      {notification: Notification, unread: Unread}
//	direct.message            {room: Room, message: Message, unread: Unread}   to both people of a direct conversation
//	read.changed              {conversation, seq, unread: Unread}              another device read something
const (
	TopicFeed   = "community/feed"
	TopicOnline = "community/online"

	TopicAnnouncements = "community/announcements"
)

// TopicConversation carries the messages of a post, a room or a direct conversation.
func TopicConversation(id string) string { return "community/c/" + id }

// TopicTyping carries who is typing there.
func TopicTyping(id string) string { return "community/c/" + id + "/typing" }
