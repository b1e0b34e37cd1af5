//! The controller's behavior, one file for each state of a request and of an issuer.

mod allowed_namespaces;
mod approval;
mod blame;
mod builder;
mod claim;
mod conflict;
mod csr;
mod deletion;
mod drop_in;
mod events;
mod idle;
mod issued;
mod issuer_status;
mod issuers;
mod lost_reply;
mod namespaces;
mod outage;
mod pending;
mod report;
mod scenario;
mod sources;
mod stop;
mod tenants;
mod tokens;
mod unsaved;
mod waiting;
