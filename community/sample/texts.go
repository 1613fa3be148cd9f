package sample

import "github.com/parleyhq/parley/community/store"

type person struct{ handle, name, bio string }

// line is something said; answers is the seq it replies to, 0 for none.
type line struct {
	who, says string
	answers   int64
}

type room struct {
	slug, title, about, host string
	lines                    []line
}

type post struct {
	key, category, author, title, body string
	pinned                             bool
	comments                           []line
}

func people() []person {
	return []person{
		{"mara", "Mara Okafor", "Builds small tools for a large hospital. Collects paper maps."},
		{"linwei", "林薇", "写 Go，也写诗。白天做物流系统，晚上骑车。"},
		{"jonas", "Jonas Berg", "Runs the servers of a co-operative bakery. Early riser by trade."},
		{"priya", "Priya Raman", "Interfaces that work on bad trains. Tea, no sugar."},
	}
}

func categories() []store.Category {
	return []store.Category{
		{Slug: "welcome", Name: "Welcome", NameZH: "新人报到", Hue: 7, About: "News of this place, and a chair for who has just come in.", AboutZH: "本站消息，也欢迎刚进门的你。"},
		{Slug: "questions", Name: "Questions", NameZH: "问答", Hue: 1, About: "Ask early. Somebody has met it before.", AboutZH: "有问题早点问，总有人遇到过。"},
		{Slug: "workshop", Name: "Workshop", NameZH: "工坊", Hue: 4, About: "What you are building, finished or not.", AboutZH: "你正在做的东西，不论做没做完。"},
		{Slug: "zh", Name: "中文区", NameZH: "中文区", Hue: 10, About: "Conversations in Chinese.", AboutZH: "用中文聊。"},
	}
}

func rooms() []room {
	return []room{
		{"lobby", "lobby", "Come in, say hello. Everything that has no other place.", "mara", []line{
			{"mara", "Good morning! Kettle is on.", 0},
			{"jonas", "Morning. I have been up since four, so for me it is nearly lunch.", 0},
			{"priya", "Typing this from a train. If my lines arrive late they still arrive **in order**, which is more than I can say of the train.", 0},
			{"linwei", "大家好！Hello from Hangzhou.", 0},
			{"mara", "Hello 林薇! Did the ride around the lake happen?", 4},
			{"linwei", "It did. 28 km, two flat tyres, worth it.", 0},
		}},
		{"help", "help", "Short questions, short answers. Longer ones make a good post.", "jonas", []line{
			{"priya", "How do I write to one person only?", 0},
			{"jonas", "Open their profile and choose *Message*, or start one under Direct messages.", 1},
			{"priya", "Found it. And `?` lists the shortcuts, I see.", 0},
		}},
		{"zh-room", "中文", "随便聊聊。", "linwei", []line{
			{"linwei", "这里可以用中文聊天，消息断网重连后也不会丢。", 0},
			{"mara", "我在学中文，请多关照！", 0},
			{"linwei", "欢迎！你的输入法没有选错字，厉害。", 2},
		}},
	}
}

func posts() []post {
	return []post{
		{
			key: "bakery", category: "workshop", author: "jonas", title: "A screen in the bakery that shows orders as they come in",
			body: "We had a printer. It jammed whenever somebody ordered more than six loaves.\n\nNow there is an old tablet on the wall. Each order is one message on a topic, the tablet subscribes to it, and when the flour dust finally kills the Wi-Fi it picks up where it was:\n\n```\norders/today   →   tablet on the wall\n                →   phone of whoever is on the bike\n```\n\nWhat I like best is what I did *not* have to write: the part that notices a gap.",
			comments: []line{
				{"priya", "Does the tablet show what it missed, or jump to now?", 0},
				{"jonas", "It shows what it missed, oldest first. A jump would cost somebody their rye bread.", 2},
				{"mara", "I want this for the pharmacy hatch. The jam there is not the tasty kind.", 0},
			},
		},
		{
			key: "zh-map", category: "zh", author: "linwei", title: "把物流地图做成实时的：一点心得",
			body: "我们有三百辆车，每五秒上报一次位置。最初的做法是页面每秒轮询，服务器和司机的流量都吃不消。\n\n改成订阅之后：\n\n- 每辆车一个主题，地图只订阅当前视野里的车\n- 慢的屏幕只收**最新**的位置，中间的丢掉也没关系\n- 断线重连从上次的位置继续\n\n欢迎提问，@mara 你上次问的问题我也写在里面了。",
			comments: []line{
				{"mara", "谢谢！视野变化的时候，是先订阅新的还是先退订旧的？", 0},
				{"linwei", "先订阅新的，再退订旧的，地图上就不会闪一下空白。", 2},
			},
		},
		{
			key: "trains", category: "questions", author: "priya", title: "How do you test an interface for tunnels?",
			body: "I spend my commute in a row of tunnels, so I know when a page lies to me: it says *sent*, and nothing was.\n\nWhat do you check before you believe your own \"offline\" handling? My list so far:\n\n1. Go offline **while** sending, not before\n2. Come back on another network\n3. Close the lid for an hour\n\nWhat is missing?",
			comments: []line{
				{"jonas", "4. Two devices, one of them in the tunnel. Both must show the same order afterwards.", 0},
				{"mara", "5. A full disk on the server. The page should say *not sent* and keep the text.", 0},
				{"priya", "Number 5 is mean and I am stealing it.", 3},
				{"linwei", "6. 换语言。错误提示经常忘了翻译。 (Switch the language: error messages are often forgotten.)", 0},
			},
		},
		{
			key: "welcome", category: "welcome", author: "mara", pinned: true, title: "Welcome, and how this place works",
			body: "Pull up a chair. Three things to know:\n\n- **Posts** are for what should still be found next year. **Rooms** are for today. **Direct messages** are for two.\n- Everything is live. When somebody answers, it appears; what you are reading stays where it is.\n- Lose your connection if you like. What you write waits and is sent when you are back, once.\n\nWrite `@name` to let somebody know, and press `?` for the keyboard.\n\nThe people and posts here are samples, to show the furniture. @admin, delete what you do not need.",
			comments: []line{
				{"linwei", "界面可以切换成中文，在设置或页脚里。", 0},
				{"jonas", "Light and dark as well. I like the dark one at four in the morning.", 0},
			},
		},
	}
}
