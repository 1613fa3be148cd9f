package packet

import "fmt"

// Reason is a reason code (§2.4). Those from 0x80 on are failures. The return
// codes of MQTT 3.1.1 are read as the reason that says the same, and written
// as the code that comes nearest.
type Reason byte

// The reason codes. Some numbers have several names, one for each packet.
const (
	Success                Reason = 0x00
	NormalDisconnection    Reason = 0x00
	GrantedQoS0            Reason = 0x00
	GrantedQoS1            Reason = 0x01
	GrantedQoS2            Reason = 0x02
	DisconnectWithWill     Reason = 0x04
	NoMatchingSubscribers  Reason = 0x10
	NoSubscriptionExisted  Reason = 0x11
	ContinueAuthentication Reason = 0x18
	ReAuthenticate         Reason = 0x19

	UnspecifiedError                    Reason = 0x80
	MalformedPacket                     Reason = 0x81
	ProtocolError                       Reason = 0x82
	ImplementationSpecificError         Reason = 0x83
	UnsupportedProtocolVersion          Reason = 0x84
	ClientIdentifierNotValid            Reason = 0x85
	BadUserNameOrPassword               Reason = 0x86
	NotAuthorized                       Reason = 0x87
	ServerUnavailable                   Reason = 0x88
	ServerBusy                          Reason = 0x89
	Banned                              Reason = 0x8A
	ServerShuttingDown                  Reason = 0x8B
	BadAuthenticationMethod             Reason = 0x8C
	KeepAliveTimeout                    Reason = 0x8D
	SessionTakenOver                    Reason = 0x8E
	TopicFilterInvalid                  Reason = 0x8F
	TopicNameInvalid                    Reason = 0x90
	PacketIdentifierInUse               Reason = 0x91
	PacketIdentifierNotFound            Reason = 0x92
	ReceiveMaximumExceeded              Reason = 0x93
	TopicAliasInvalid                   Reason = 0x94
	PacketTooLarge                      Reason = 0x95
	MessageRateTooHigh                  Reason = 0x96
	QuotaExceeded                       Reason = 0x97
	AdministrativeAction                Reason = 0x98
	PayloadFormatInvalid                Reason = 0x99
	RetainNotSupported                  Reason = 0x9A
	QoSNotSupported                     Reason = 0x9B
	UseAnotherServer                    Reason = 0x9C
	ServerMoved                         Reason = 0x9D
	SharedSubscriptionsNotSupported     Reason = 0x9E
	ConnectionRateExceeded              Reason = 0x9F
	MaximumConnectTime                  Reason = 0xA0
	SubscriptionIdentifiersNotSupported Reason = 0xA1
	WildcardSubscriptionsNotSupported   Reason = 0xA2
)

// Failed reports whether the code says that something failed.
func (r Reason) Failed() bool { return r >= 0x80 }

// in is the set of packets in which a reason code may stand.
func (r Reason) in() kinds {
	const (
		acks    = 1<<PUBACK | 1<<PUBREC
		allAcks = acks | 1<<SUBACK | 1<<UNSUBACK
		ends    = 1<<CONNACK | 1<<DISCONNECT
	)
	switch r {
	case Success:
		return ends | allAcks | 1<<PUBREL | 1<<PUBCOMP | 1<<AUTH
	case GrantedQoS1, GrantedQoS2:
		return 1 << SUBACK
	case DisconnectWithWill, ServerShuttingDown, KeepAliveTimeout, SessionTakenOver, ReceiveMaximumExceeded,
		TopicAliasInvalid, MessageRateTooHigh, AdministrativeAction, MaximumConnectTime:
		return 1 << DISCONNECT
	case NoMatchingSubscribers:
		return acks
	case NoSubscriptionExisted:
		return 1 << UNSUBACK
	case ContinueAuthentication, ReAuthenticate:
		return 1 << AUTH
	case UnspecifiedError, ImplementationSpecificError, NotAuthorized:
		return ends | allAcks
	case MalformedPacket, ProtocolError, ServerBusy, PacketTooLarge, RetainNotSupported, QoSNotSupported,
		UseAnotherServer, ServerMoved, ConnectionRateExceeded:
		return ends
	case UnsupportedProtocolVersion, ClientIdentifierNotValid, BadUserNameOrPassword, ServerUnavailable, Banned, BadAuthenticationMethod:
		return 1 << CONNACK
	case TopicFilterInvalid:
		return 1<<SUBACK | 1<<UNSUBACK | 1<<DISCONNECT
	case TopicNameInvalid, PayloadFormatInvalid:
		return ends | acks
	case PacketIdentifierInUse:
		return allAcks
	case PacketIdentifierNotFound:
		return 1<<PUBREL | 1<<PUBCOMP
	case QuotaExceeded:
		return ends | acks | 1<<SUBACK
	case SharedSubscriptionsNotSupported, SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported:
		return 1<<SUBACK | 1<<DISCONNECT
	default:
		return 0
	}
}

// check judges whether the code may stand in a packet of kind k.
func (r Reason) check(k Kind) error {
	if !r.in().has(k) {
		return ProtocolError.Errorf("reason code %#02x has no meaning in a %s (§2.4)", byte(r), k)
	}
	return nil
}

// Error is what is wrong with a packet, or with what the peer did, and the
// reason code to tell it with.
type Error struct {
	Reason  Reason
	Message string
}

// Errorf makes an Error of this reason. The message is for a person.
func (r Reason) Errorf(format string, args ...any) *Error {
	return &Error{r, fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (reason code %#02x)", e.Message, byte(e.Reason))
}

// The CONNACK return codes of MQTT 3.1.1 §3.2.2.3, by number.
var connackCodes = [...]Reason{
	Success, UnsupportedProtocolVersion, ClientIdentifierNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized,
}

// connackCode returns the return code of MQTT 3.1.1 that comes nearest.
func (r Reason) connackCode() byte {
	for code, same := range connackCodes {
		if r == same {
			return byte(code)
		}
	}
	if r == Banned || r == BadAuthenticationMethod {
		return 5 // not authorized
	}
	return 3 // unavailable: the only one after which trying again makes sense
}
