//! TLS towards endpoints that speak it.

/// Makes ring this process's provider of TLS cryptography. The first choice stands, so calling it
/// again changes nothing; an HTTP client cannot be built before one is made.
pub fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
