//! Classifies errors of TLS handshakes.

use std::io::{self, ErrorKind};

use issuer_core::{ConnectError, ProxyError, TlsError, TransportError};
use rustls::{AlertDescription, CertificateError, Error};

/// Classifies a TLS error: which side's certificate is at fault, and why.
///
/// Alerts about certificates can only be about ours, for the server's is judged here; so are those about a signature
/// that does not verify, as of a CA of the same name with another key.
pub fn classify(error: &Error) -> TlsError {
    match error {
        Error::InvalidCertificate(reason) => server_certificate(reason),
        Error::AlertReceived(alert) => alerted(*alert),
        _ => TlsError::Handshake,
    }
}

fn server_certificate(reason: &CertificateError) -> TlsError {
    match reason {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsError::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsError::Name,
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
        CertificateError::BadSignature => TlsError::Signature,
        CertificateError::UnhandledCriticalExtension => TlsError::CriticalExtension,
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => TlsError::CaCertificate,
            Some(webpki::Error::UnsupportedCriticalExtension) => TlsError::CriticalExtension,
            _ => TlsError::Certificate,
        },
        _ => TlsError::Certificate,
    }
}

fn alerted(alert: AlertDescription) -> TlsError {
    match alert {
        AlertDescription::AccessDenied
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRequired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::NoCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate => TlsError::ClientCertificate,
        AlertDescription::UnrecognisedName => TlsError::Name,
        _ => TlsError::Handshake,
    }
}

/// Classifies an error of connecting by TCP.
pub fn connect_error(error: &io::Error) -> ConnectError {
    match error.kind() {
        ErrorKind::ConnectionRefused => ConnectError::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ConnectError::Timeout,
        _ => ConnectError::Unreachable,
    }
}

/// Classifies an error while a proxy is asked to forward a connection.
pub fn proxy_error(error: &io::Error) -> ProxyError {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ProxyError::Timeout,
        _ => ProxyError::Closed,
    }
}

/// Classifies an error during the TLS handshake.
pub fn handshake_error(error: &io::Error) -> TransportError {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ConnectError::Timeout.into(),
        _ => wrapped(error).map_or(TlsError::Handshake, classify).into(),
    }
}

/// Classifies an error after the TLS handshake; `first` if nothing has been received from the server yet.
///
/// In TLS 1.3 the client is done before the server has seen its certificate, so that a refusal comes only now. The
/// server has not handled the request then: to it, the handshake failed.
pub fn exchange_error(error: &io::Error, first: bool) -> TransportError {
    match wrapped(error).map(classify) {
        Some(TlsError::ClientCertificate) if first => TlsError::ClientCertificate.into(),
        _ => TransportError::Reset,
    }
}

fn wrapped(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn errors_have_their_class() {
        let alert = |alert| classify(&Error::AlertReceived(alert));
        let certificate = |reason| classify(&Error::InvalidCertificate(reason));
        assert_eq!(
            alert(AlertDescription::CertificateRequired),
            TlsError::ClientCertificate
        );
        assert_eq!(alert(AlertDescription::BadCertificate), TlsError::ClientCertificate);
        assert_eq!(alert(AlertDescription::UnknownCA), TlsError::ClientCertificate);
        assert_eq!(alert(AlertDescription::DecryptError), TlsError::ClientCertificate);
        assert_eq!(alert(AlertDescription::UnrecognisedName), TlsError::Name);
        assert_eq!(alert(AlertDescription::ProtocolVersion), TlsError::Handshake);
        assert_eq!(alert(AlertDescription::HandshakeFailure), TlsError::Handshake);
        assert_eq!(certificate(CertificateError::Expired), TlsError::Expired);
        assert_eq!(certificate(CertificateError::NotValidYet), TlsError::Expired);
        assert_eq!(certificate(CertificateError::NotValidForName), TlsError::Name);
        assert_eq!(certificate(CertificateError::UnknownIssuer), TlsError::UnknownIssuer);
        let other = |error| certificate(CertificateError::Other(OtherError(Arc::new(error))));
        assert_eq!(other(webpki::Error::CaUsedAsEndEntity), TlsError::CaCertificate);
        assert_eq!(
            other(webpki::Error::UnsupportedCriticalExtension),
            TlsError::CriticalExtension
        );
        assert_eq!(other(webpki::Error::UnsupportedCertVersion), TlsError::Certificate);
        assert_eq!(certificate(CertificateError::BadSignature), TlsError::Signature);
        assert_eq!(certificate(CertificateError::BadEncoding), TlsError::Certificate);
        assert_eq!(classify(&Error::DecryptError), TlsError::Handshake);
    }

    #[test]
    fn a_late_alert_counts_before_the_first_byte() {
        let alert = Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = io::Error::new(ErrorKind::InvalidData, alert);
        assert_eq!(exchange_error(&error, true), TlsError::ClientCertificate.into());
        assert_eq!(exchange_error(&error, false), TransportError::Reset);
        let error = io::Error::new(ErrorKind::InvalidData, Error::DecryptError);
        assert_eq!(exchange_error(&error, true), TransportError::Reset);
        assert_eq!(
            exchange_error(&ErrorKind::BrokenPipe.into(), true),
            TransportError::Reset
        );
    }

    #[test]
    fn a_slow_handshake_never_connected() {
        assert_eq!(
            handshake_error(&ErrorKind::TimedOut.into()),
            ConnectError::Timeout.into()
        );
        assert_eq!(
            handshake_error(&ErrorKind::UnexpectedEof.into()),
            TlsError::Handshake.into()
        );
    }
}
