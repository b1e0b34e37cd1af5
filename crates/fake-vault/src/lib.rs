//! fake-vault
