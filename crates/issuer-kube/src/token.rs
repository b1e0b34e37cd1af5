//! Service account tokens.

use issuer_core::Secret;
use issuer_core::access::ReadError;
use issuer_core::reference::TokenSource;

use crate::api_server::ApiServer;

/// Obtains a service account token from its source.
pub(crate) async fn obtain(api: &ApiServer, source: TokenSource) -> Result<Secret, ReadError> {
    match source {
        TokenSource::File(path) => {
            // The kubelet keeps it in memory, but another kind of volume may be mounted there.
            let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
            match read {
                Ok(Ok(token)) => Ok(Secret::from(token)),
                Ok(Err(_)) | Err(_) => Err(ReadError::Unavailable),
            }
        }
        TokenSource::Requested(spec) => api.mint_token(&spec).await,
    }
}
