package arch

// A Floor is one line of the map: packages that may be imported by the floors above it and that
// import only the floors below it. Packages that share a floor do not know each other.
type Floor struct {
	Dirs []string // "." is the public API in the module's root
	// Rooms says that the sub-packages are doors to different worlds (engines, transports): each
	// sees the contract in its parent, none sees a sibling, and the parent sees none of them.
	Rooms bool
	// Only, when not nil, is the complete list of other folders of this module the floor may import.
	Only []string
	// Why is told to whoever breaks Only.
	Why string
}

const (
	whyOutsider = "It lives on the public API as any other application would: what it cannot do through " +
		"that API no user can do either, so extend the API instead of reaching behind it."
	whyClient = "A client is linked into other people's programs: it shares the words of the protocol with the " +
		"server and nothing of its machinery."
	whyLoad = "Load comes from outside, as clients do: what it measures it must not share with the server."
	whyLeaf = "It is a leaf that everything may stand on, so it stands on nothing."
)

// House is the map, read downward. docs/architecture.md shows the same list to people.
func House() []Floor {
	return []Floor{
		{Dirs: []string{"cmd/parley"}},
		{Dirs: []string{"server"}},
		{Dirs: []string{"bench"}, Only: []string{"client", "protocol", "message", "topic"}, Why: whyLoad},
		{
			Dirs: []string{"community", "console"},
			// auth is here for its Identity: an application has to say who somebody is. web holds
			// pages without behaviour; client is a public API like the root.
			Only: []string{".", "auth", "client", "web"}, Why: whyOutsider,
		},
		{Dirs: []string{"web"}, Only: []string{}, Why: "Pages are files to embed and to show; behaviour belongs to the applications."},
		{Dirs: []string{"parleytest"}},
		{Dirs: []string{"."}},
		{Dirs: []string{"client", "sdk/js"}, Only: []string{"protocol", "message", "topic"}, Why: whyClient},
		{Dirs: []string{"transport"}, Rooms: true},
		{Dirs: []string{"session"}},
		{Dirs: []string{"routing"}},
		{Dirs: []string{"pubsub"}},
		{Dirs: []string{"hub", "presence"}},
		{Dirs: []string{"broker"}, Rooms: true},
		{Dirs: []string{"store"}, Rooms: true},
		{Dirs: []string{"auth"}, Rooms: true},
		{Dirs: []string{"protocol"}},
		{Dirs: []string{"message"}},
		{Dirs: []string{"topic"}, Only: []string{}, Why: whyLeaf},
		{Dirs: []string{"internal/evloop"}, Only: []string{"internal/wheel"}, Why: whyLeaf},
		{Dirs: []string{"internal/wheel"}, Only: []string{}, Why: whyLeaf},
	}
}

// Yard is what stands beside the house: programs and papers that nothing in it imports.
func Yard() []Floor {
	return []Floor{
		// protocol, because a test that talks to an example sees frames.
		{Dirs: []string{"examples"}, Only: []string{".", "auth", "client", "parleytest", "protocol"}, Why: whyOutsider},
		{Dirs: []string{"scenario"}},
		{Dirs: []string{"internal/arch"}, Only: []string{}, Why: "The judge of the house does not live in it."},
		{Dirs: []string{"deploy"}},
		{Dirs: []string{"docs"}},
		{Dirs: []string{"scripts"}},
	}
}

// place finds where a folder stands: the floor's index in the house, or -1 in the yard. The longest
// match wins, so that internal/arch is not taken for a part of internal.
func place(dir string) (index int, floor Floor, ok bool) {
	best := -1
	try := func(i int, f Floor) {
		for _, d := range f.Dirs {
			if d == "." && dir != "." {
				continue // everything lies in the root folder; only the root package is the public API
			}
			if under(dir, d) && len(d) > best {
				best, index, floor, ok = len(d), i, f, true
			}
		}
	}
	for i, f := range House() {
		try(i, f)
	}
	for _, f := range Yard() {
		try(-1, f)
	}
	return index, floor, ok
}

// home is the folder of the floor that dir lies in, for example transport for transport/websocket.
func (f Floor) home(dir string) string {
	for _, d := range f.Dirs {
		if d == "." && dir == "." || d != "." && under(dir, d) {
			return d
		}
	}
	return ""
}
