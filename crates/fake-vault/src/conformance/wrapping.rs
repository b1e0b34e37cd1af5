//! The part of the table about response wrapping.

use serde_json::json;

use super::case::TokenKind::{None as NoToken, Root, Wrapping};
use super::case::{Case, ISSUER, WRAPPING_TOKEN, case};

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let (lookup, unwrap) = ("POST sys/wrapping/lookup", "POST sys/wrapping/unwrap");
    let secret_id = "POST auth/approle/role/issuer/secret-id";
    let wrap = |name, request, token, status| {
        Case { is_wrapped: true, ..case(name, request, token, json!({}), status) }
    };
    let (token, nothing) = (|| json!({ "token": WRAPPING_TOKEN }), || json!({}));
    vec![
        case("make a secret ID", secret_id, Root, nothing(), 200),
        case("make a secret ID by GET", "GET auth/approle/role/issuer/secret-id", Root, None, 405),
        wrap("wrap a secret ID", secret_id, Root, 200),
        case("lookup of a wrapping token", lookup, NoToken, token(), 200),
        case("lookup by a wrapping token", lookup, Wrapping, nothing(), 200),
        case("lookup by a wrapping token by GET", "GET sys/wrapping/lookup", Wrapping, None, 200),
        case("lookup of no wrapping token", lookup, NoToken, nothing(), 403),
        case("lookup of another kind of token", lookup, ISSUER, nothing(), 400),
        case("unwrap", unwrap, Wrapping, nothing(), 200),
        case("unwrap again", unwrap, Wrapping, nothing(), 400),
        case("lookup of a spent wrapping token", lookup, NoToken, token(), 400),
        wrap("wrap a second secret ID", secret_id, Root, 200),
        case("unwrap for another", unwrap, ISSUER, token(), 200),
        case("unwrap for another again", unwrap, ISSUER, token(), 400),
        wrap("wrap a third secret ID", secret_id, Root, 200),
        case("unwrap for nobody", unwrap, NoToken, token(), 403),
        case("unwrap nothing", unwrap, NoToken, nothing(), 403),
        case("unwrap another kind of token", unwrap, ISSUER, nothing(), 400),
        case("use a wrapping token", "GET auth/token/lookup-self", Wrapping, None, 403),
        case("unwrap after a use", unwrap, Wrapping, nothing(), 400),
        wrap("wrap a fourth secret ID", secret_id, Root, 200),
        case("unwrap by GET", "GET sys/wrapping/unwrap", Wrapping, None, 403),
        wrap("wrap without a right", secret_id, ISSUER, 403),
        wrap("wrap under no role", "POST auth/approle/role/nope/secret-id", Root, 404),
    ]
}
