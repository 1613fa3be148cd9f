package transport

// Slots of the encodings that a delivery can have (hub.Encoder), in one place,
// so that no transport takes another's. A message is encoded once for each of
// them at most, however many receivers there are.
const (
	// SlotWebSocket and the three after it: JSON, Protobuf, and both compressed.
	SlotWebSocket = 0
	// SlotSSE is the data of an event, without its id.
	SlotSSE = 4
	// SlotFrame and the one after it: JSON and Protobuf.
	SlotFrame = 5
	// SlotMQTT and the four after it: whole packets of QoS 0 for 3.1.1 and 5, what
	// comes before the packet identifier of others, and what comes behind it in 5.
	SlotMQTT = 7
	SlotGRPC = 12
)
