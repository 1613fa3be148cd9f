package web_test

import (
	"time"

	"github.com/parleyhq/parley/web"
)

// pages are every page with realistic data, by the path under which the preview shows them.
func pages() map[string]func() web.Page {
	p := people()
	guest := func(path, title string) web.Layout {
		l := layout(path, title)
		l.User, l.Rooms, l.Directs, l.Unread, l.LiveURL = nil, nil, nil, web.Unread{}, ""
		return l
	}
	thread := func() web.Thread {
		return web.Thread{Conversation: "c02", Messages: comments(), More: true, ReadSeq: 15, LastSeq: 18, Position: web.Position{Epoch: "k3", Seq: 21}, Members: crowd("jonas", "tomas", "wang", "ada", "priya"), CanSend: true}
	}
	post := func(l web.Layout) *web.PostPage {
		return &web.PostPage{Layout: l, Post: web.Post{ID: "02", Title: "Does a slow reader hold up everybody else in the room?", HTML: postHTML, Author: p["jonas"], Category: categories()[1], Created: ago(5 * time.Hour), Edited: true, Comments: 18, CanEdit: true, CanDelete: true}, Thread: thread(), Latest: posts()[2:6]}
	}
	chat := func(l web.Layout, r web.Room) *web.Chat {
		return &web.Chat{Layout: l, Room: r, Thread: web.Thread{Conversation: r.ID, Messages: lines(r.ID), ReadSeq: 411, LastSeq: 413, Position: web.Position{Epoch: "k3", Seq: 413}, Members: crowd("ada", "liu", "mei", "tomas", "wang", "jonas", "priya", "sam"), CanSend: true}}
	}
	return map[string]func() web.Page{
		"/":      func() web.Page { return &web.Home{Layout: layout("/", ""), Posts: posts(), Next: "/?before=08"} },
		"/guest": func() web.Page { return &web.Home{Layout: guest("/", ""), Posts: posts()} },
		"/empty": func() web.Page {
			return &web.Home{Layout: layout("/", "")}
		},
		"/c/questions": func() web.Page {
			return &web.CategoryPage{Layout: layout("/c/questions", "Questions"), Category: categories()[1], Order: "new", Posts: posts()[1:5]}
		},
		"/p/02": func() web.Page {
			return post(layout("/p/02", "Does a slow reader hold up everybody else in the room?"))
		},
		"/p/guest": func() web.Page { v := post(guest("/p/02", "")); v.Thread.CanSend = false; return v },
		"/new":     func() web.Page { return &web.PostForm{Layout: layout("/new", "New post")} },
		"/new/error": func() web.Page {
			return &web.PostForm{Layout: layout("/new", "New post"), Body: "Some text", Errors: map[string]string{"title": "error.required", "": "error.csrf"}}
		},
		"/m/edit": func() web.Page {
			return &web.MessageForm{Layout: layout("/m/c02/18/edit", "Edit message"), Message: lines("c02")[6], Back: "/p/02"}
		},
		"/chat":         func() web.Page { return &web.ChatIndex{Layout: layout("/chat", "Rooms"), Kind: "room"} },
		"/chat/general": func() web.Page { return chat(layout("/chat/general", "general"), rooms()[0]) },
		"/chat/ops": func() web.Page {
			v := chat(layout("/chat/ops", "operators"), rooms()[3])
			v.CanInvite = true
			return v
		},
		"/chat/new": func() web.Page { return &web.RoomForm{Layout: layout("/chat/new", "New room")} },
		"/chat/quiet": func() web.Page {
			v := chat(layout("/chat/zh", "中文聊天"), rooms()[2])
			v.Thread.Messages, v.Thread.ReadSeq, v.Thread.LastSeq = nil, 0, 0
			return v
		},
		"/direct": func() web.Page {
			return &web.ChatIndex{Layout: layout("/direct", "Direct messages"), Kind: "direct", People: crowd("ada", "liu", "jonas")}
		},
		"/direct/d1": func() web.Page {
			v := chat(layout("/direct/d1", "Tomás Rivera"), directs()[0])
			v.Thread.Messages, v.Thread.ReadSeq, v.Thread.LastSeq = []web.Message{v.Thread.Messages[0], v.Thread.Messages[1], v.Thread.Messages[9], v.Thread.Messages[12]}, 411, 412
			return v
		},
		"/notifications": func() web.Page {
			return &web.Notifications{Layout: layout("/notifications", "Notifications"), Items: notifications()}
		},
		"/notifications/empty": func() web.Page { return &web.Notifications{Layout: layout("/notifications", "Notifications")} },
		"/signin":              func() web.Page { return &web.SignIn{Layout: guest("/signin", "Sign in"), Next: "/"} },
		"/signin/error": func() web.Page {
			return &web.SignIn{Layout: guest("/signin", "Sign in"), Name: "meilin", Errors: map[string]string{"": "error.signin"}}
		},
		"/signup": func() web.Page {
			return &web.SignUp{Layout: guest("/signup", "Sign up"), Name: "mei", Errors: map[string]string{"name": "error.name_taken"}}
		},
		"/u/priya": func() web.Page {
			return &web.Profile{Layout: layout("/u/priya", "Priya Nair"), Person: p["priya"], Bio: "<p>Theatre by night, Go by day. I build seat maps, queues and the occasional lighting desk.</p>", Joined: ago(200 * 24 * time.Hour), LastSeen: ago(40 * time.Minute), PostsN: 7, CommentN: 112, Posts: posts()[3:4], Govern: &web.Govern{Roles: []string{"member", "moderator", "admin"}}}
		},
		"/settings": func() web.Page {
			return &web.Settings{Layout: layout("/settings", "Settings"), DisplayName: "Mei Lin", BioSource: "I run this place.", Sessions: []web.Session{
				{ID: "s1", Device: "Firefox on Linux", Address: "198.51.100.7", LastSeen: ago(time.Minute), Current: true},
				{ID: "s2", Device: "Safari on iPhone", Address: "203.0.113.20", LastSeen: ago(9 * time.Hour)},
			}}
		},
		"/404": func() web.Page {
			return &web.ErrorPage{Layout: layout("/nowhere", "Nothing here"), Status: 404, RequestID: "01JD2V9Q"}
		},
		"/500": func() web.Page {
			return &web.ErrorPage{Layout: guest("/", "Error"), Status: 500, RequestID: "01JD2V9Q"}
		},
	}
}
