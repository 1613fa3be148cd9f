package mqtt

import (
	"github.com/parleyhq/parley/protocol"
	parleyv1 "github.com/parleyhq/parley/protocol/parley/v1"
	"github.com/parleyhq/parley/transport/mqtt/packet"
)

// The table of reasons, as MQTT 5 says them. What a packet has no code for is
// said as nearly as it can.

// ending is the reason code of a DISCONNECT.
func (s *Server) ending(r protocol.Reason) packet.Reason {
	switch r.Code {
	case protocol.Draining.Code:
		if s.Redirect != "" {
			return packet.UseAnotherServer
		}
		return packet.ServerShuttingDown
	case protocol.Closed.Code:
		return packet.NormalDisconnection
	case protocol.PingTimeout.Code:
		return packet.KeepAliveTimeout
	case protocol.TakenOver.Code:
		return packet.SessionTakenOver
	case protocol.TokenExpired.Code:
		return packet.MaximumConnectTime
	case protocol.Disconnected.Code, protocol.IdleTimeout.Code:
		return packet.AdministrativeAction
	case protocol.ErrorBudget.Code, protocol.RateLimited.Code:
		return packet.MessageRateTooHigh
	case protocol.SlowConsumer.Code, protocol.LimitReached.Code:
		return packet.QuotaExceeded
	case protocol.Overloaded.Code:
		return packet.ServerBusy
	case protocol.TooLarge.Code:
		return packet.PacketTooLarge
	case protocol.BadProtocol.Code, protocol.BadRequest.Code:
		return packet.ProtocolError
	case protocol.Unauthorized.Code, protocol.Forbidden.Code:
		return packet.NotAuthorized
	}
	return packet.UnspecifiedError
}

// refusal is the reason code of a CONNACK. A client that has sent a password is
// told that it is wrong.
func (s *Server) refusal(code string, password bool) packet.Reason {
	switch code {
	case protocol.Unauthorized.Code, protocol.TokenExpired.Code:
		if password {
			return packet.BadUserNameOrPassword
		}
		return packet.NotAuthorized
	case protocol.Forbidden.Code, protocol.Disconnected.Code:
		return packet.NotAuthorized
	case protocol.Draining.Code:
		if s.Redirect != "" {
			return packet.UseAnotherServer
		}
		return packet.ServerUnavailable
	case protocol.Overloaded.Code:
		return packet.ServerBusy
	case protocol.RateLimited.Code:
		return packet.ConnectionRateExceeded
	case protocol.LimitReached.Code:
		return packet.QuotaExceeded
	case protocol.BadRequest.Code:
		return packet.ClientIdentifierNotValid
	}
	return packet.ServerUnavailable
}

// published is the reason code of a PUBACK or a PUBREC.
func published(e *parleyv1.Error) packet.Reason {
	switch e.GetCode() {
	case protocol.Forbidden.Code, protocol.Unauthorized.Code:
		return packet.NotAuthorized
	case protocol.RateLimited.Code, protocol.Overloaded.Code, protocol.LimitReached.Code, protocol.TooLarge.Code:
		return packet.QuotaExceeded
	case protocol.BadRequest.Code:
		return packet.ImplementationSpecificError
	}
	return packet.UnspecifiedError
}

// subscribed is the reason code of a filter in a SUBACK.
func subscribed(e *parleyv1.Error, shared bool) packet.Reason {
	switch e.GetCode() {
	case protocol.Forbidden.Code, protocol.Unauthorized.Code:
		return packet.NotAuthorized
	case protocol.BadRequest.Code:
		if shared {
			return packet.SharedSubscriptionsNotSupported
		}
		return packet.TopicFilterInvalid
	case protocol.RateLimited.Code, protocol.Overloaded.Code, protocol.LimitReached.Code:
		return packet.QuotaExceeded
	}
	return packet.UnspecifiedError
}
