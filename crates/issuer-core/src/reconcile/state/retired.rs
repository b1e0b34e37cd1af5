//! The tokens that are no longer used, and their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lanes::LaneKey;
use crate::Connect;
use crate::digest::digest;
use crate::reconcile::tenant::Tenant;
use crate::reference::IssuerKey;
use crate::vault::{Lease, Vault};

/// The most tokens that are kept of one issuer. The first of more are left to expire: the token of an issuer may be
/// superseded each second, and its server may extend every one.
const TOKENS_OF_ISSUER: usize = 8;

/// The most tokens that are kept of the issuers of one tenant.
const TOKENS_OF_TENANT: usize = 256;

/// Tokens to be revoked, each with a number. Every operation takes logarithmic time.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct RetiredTokens {
    by_number: BTreeMap<u64, Retired>,
    last: u64,
    /// The number of each token, by the digest of the token.
    by_token: BTreeSet<(u64, u64)>,
    /// The number of each token, by the digest of the way in which its server is reached.
    by_login: BTreeSet<(u64, u64)>,
    of_issuer: BTreeMap<IssuerKey, DropOrder>,
    of_tenant: BTreeMap<Tenant, DropOrder>,
}

/// The tokens of one issuer or tenant, the first to be dropped first: with a token that bears leases, certificates are
/// revoked, so the others go before it.
type DropOrder = BTreeSet<(bool, u64)>;

/// A token to revoke or to renew, with everything that this takes.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(in crate::reconcile) struct Retired {
    /// The issuer that has used it.
    pub(in crate::reconcile) issuer: IssuerKey,
    pub(super) tenant: Tenant,
    /// The server that knows it.
    server: Arc<str>,
    pub(in crate::reconcile) vault: Vault,
    pub(in crate::reconcile) lease: Lease,
    /// Failed revocations.
    pub(super) failures: u32,
}

impl RetiredTokens {
    pub(super) fn get(&self, number: u64) -> Option<&Retired> {
        self.by_number.get(&number)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.by_number.keys().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Returns the number of the token of a lease, if it is kept.
    pub(super) fn find(&self, lease: &Lease) -> Option<u64> {
        let same = |retired: &Retired| retired.lease.token() == lease.token();
        self.search(&self.by_token, digest(lease.token()), same)
            .map(|(number, _)| number)
    }

    /// Keeps a token of an issuer.
    pub(super) fn insert(&mut self, issuer: &IssuerKey, vault: &Vault, lease: Lease) -> u64 {
        let mut vault = vault.for_tokens();
        let login = digest(&vault.login);
        let same = |retired: &Retired| retired.vault.login == vault.login;
        if let Some((_, known)) = self.search(&self.by_login, login, same) {
            // The bundle of a connection may be large, and is kept once.
            let known: Arc<Connect> = Arc::clone(&known.vault.login);
            (vault.connect, vault.login) = (Arc::clone(&known), known);
        }
        self.last += 1;
        let number = self.last;
        let retired = Retired {
            issuer: issuer.clone(),
            tenant: Tenant::of(issuer),
            server: vault.login.server().into(),
            vault,
            lease,
            failures: 0,
        };
        self.by_token.insert((digest(retired.lease.token()), number));
        self.by_login.insert((login, number));
        let place = retired.place(number);
        self.of_issuer.entry(issuer.clone()).or_default().insert(place);
        self.of_tenant.entry(retired.tenant.clone()).or_default().insert(place);
        self.by_number.insert(number, retired);
        number
    }

    /// Changes a token other than its issuer and its server.
    pub(super) fn change<T>(&mut self, number: u64, change: impl FnOnce(&mut Retired) -> T) -> Option<T> {
        let retired = self.by_number.get_mut(&number)?;
        let (place, token) = (retired.place(number), digest(retired.lease.token()));
        let result = change(retired);
        let (new_place, new_token) = (retired.place(number), digest(retired.lease.token()));
        if new_token != token {
            self.by_token.remove(&(token, number));
            self.by_token.insert((new_token, number));
        }
        if new_place != place {
            let of_issuer = self.of_issuer.get_mut(&retired.issuer);
            let of_tenant = self.of_tenant.get_mut(&retired.tenant);
            for order in of_issuer.into_iter().chain(of_tenant) {
                order.remove(&place);
                order.insert(new_place);
            }
        }
        Some(result)
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(retired) = self.by_number.remove(&number) else {
            return;
        };
        self.by_token.remove(&(digest(retired.lease.token()), number));
        self.by_login.remove(&(digest(&retired.vault.login), number));
        let place = retired.place(number);
        remove(&mut self.of_issuer, &retired.issuer, place);
        remove(&mut self.of_tenant, &retired.tenant, place);
    }

    /// Returns the token to drop of the issuer of this token, or of its tenant, if there are more than may be kept.
    pub(super) fn excess(&self, number: u64) -> Option<u64> {
        let Retired { issuer, tenant, .. } = self.get(number)?;
        let first = |order: Option<&DropOrder>, most| {
            let order = order.filter(|order| order.len() > most)?;
            order.first().map(|(_, number)| *number)
        };
        let of_tenant = || first(self.of_tenant.get(tenant), TOKENS_OF_TENANT);
        first(self.of_issuer.get(issuer), TOKENS_OF_ISSUER).or_else(of_tenant)
    }

    /// Returns the first token with a digest that is `same`: two that differ may have one digest.
    fn search(
        &self,
        index: &BTreeSet<(u64, u64)>,
        digest: u64,
        same: impl Fn(&Retired) -> bool,
    ) -> Option<(u64, &Retired)> {
        let equal = index.range((digest, 0)..=(digest, u64::MAX));
        let mut found = equal.filter_map(|(_, number)| Some((*number, self.by_number.get(number)?)));
        found.find(|(_, retired)| same(retired))
    }
}

impl Retired {
    /// Returns the lane of the work on it.
    pub(super) fn lane(&self) -> LaneKey {
        LaneKey::Tokens(self.tenant.clone(), Arc::clone(&self.server))
    }

    fn place(&self, number: u64) -> (bool, u64) {
        (self.lease.bears_leases(), number)
    }
}

fn remove<K: Ord>(orders: &mut BTreeMap<K, DropOrder>, key: &K, place: (bool, u64)) {
    if let Some(order) = orders.get_mut(key) {
        order.remove(&place);
        if order.is_empty() {
            orders.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::vault;
    use crate::reference::IssuerKind;
    use crate::{Roots, Secret};

    fn issuer(number: u8) -> IssuerKey {
        let is_cluster = number.is_multiple_of(3);
        IssuerKey {
            kind: if is_cluster {
                IssuerKind::Cluster
            } else {
                IssuerKind::Namespaced
            },
            namespace: if is_cluster {
                "".into()
            } else {
                format!("team-{}", number % 2).into()
            },
            name: format!("vault-{number}").into(),
        }
    }

    fn lease(token: u16) -> Lease {
        Lease::of_unknown_ttl(Secret::from(&*format!("hvs.{token}")))
    }

    fn login(number: u8) -> Vault {
        vault("https://vault", Roots::bundle([number % 2]))
    }

    #[derive(Clone, Debug)]
    enum Action {
        Insert(u8, u16),
        NoteLease(u8),
        Replace(u8, u16),
        Remove(u8),
    }

    fn act() -> impl Strategy<Value = Action> {
        prop_oneof![
            4 => (0..6_u8, 0..40_u16).prop_map(|(issuer, token)| Action::Insert(issuer, token)),
            1 => any::<u8>().prop_map(Action::NoteLease),
            1 => (any::<u8>(), 0..40_u16).prop_map(|(number, token)| Action::Replace(number, token)),
            2 => any::<u8>().prop_map(Action::Remove),
        ]
    }

    /// Returns the token to drop as a search through all would find it.
    fn expected_excess(tokens: &RetiredTokens, key: &IssuerKey) -> Option<u64> {
        let beyond = |most: usize, is_of: &dyn Fn(&IssuerKey) -> bool| {
            let own = || {
                let all = tokens.by_number.iter();
                all.filter(|(_, retired)| is_of(&retired.issuer))
            };
            let first = own().min_by_key(|(number, retired)| (retired.lease.bears_leases(), **number));
            first.map(|(number, _)| *number).filter(|_| own().count() > most)
        };
        let of_tenant = |other: &IssuerKey| Tenant::of(other) == Tenant::of(key);
        beyond(TOKENS_OF_ISSUER, &|other| other == key).or_else(|| beyond(TOKENS_OF_TENANT, &of_tenant))
    }

    proptest! {
        #[test]
        fn indexes_find_what_a_search_finds(acts in vec(act(), 0..120)) {
            let mut tokens = RetiredTokens::default();
            for act in acts {
                let nth = |number: u8| tokens.numbers().nth(usize::from(number) % tokens.by_number.len().max(1));
                match act {
                    Action::Insert(number, token) if tokens.find(&lease(token)).is_none() => {
                        tokens.insert(&issuer(number), &login(number), lease(token));
                    }
                    Action::Insert(..) => {}
                    Action::NoteLease(number) => {
                        let number = nth(number).unwrap_or_default();
                        tokens.change(number, |retired| retired.lease.note_lease());
                    }
                    Action::Replace(number, token) => {
                        let number = nth(number).unwrap_or_default();
                        if tokens.find(&lease(token)).is_none() {
                            tokens.change(number, |retired| retired.lease = lease(token));
                        }
                    }
                    Action::Remove(number) => {
                        let number = nth(number).unwrap_or_default();
                        tokens.remove(number);
                    }
                }
                for token in 0..40 {
                    let mut all = tokens.by_number.iter();
                    let found = all.find(|(_, retired)| *retired.lease.token() == *lease(token).token());
                    prop_assert_eq!(tokens.find(&lease(token)), found.map(|(number, _)| *number));
                }
                for (number, retired) in &tokens.by_number {
                    prop_assert_eq!(tokens.excess(*number), expected_excess(&tokens, &retired.issuer));
                }
            }
            for number in tokens.numbers().collect::<Vec<_>>() {
                tokens.remove(number);
            }
            let empty = RetiredTokens { last: tokens.last, ..RetiredTokens::default() };
            prop_assert_eq!(tokens, empty);
        }
    }

    #[test]
    fn tenant_drops_its_first_unleased_token() {
        let mut tokens = RetiredTokens::default();
        let mut insert = |namespace: &str, number: u16| {
            let key = IssuerKey {
                namespace: namespace.into(),
                name: format!("vault-{}", number / 8).into(),
                ..issuer(1)
            };
            tokens.insert(&key, &login(0), lease(number))
        };
        let other = insert("other", 9999);
        let first = insert("team", 0);
        let numbers: Vec<_> = (1..=TOKENS_OF_TENANT as u16)
            .map(|number| insert("team", number))
            .collect();
        let (second, last) = (numbers[0], *numbers.last().unwrap());
        assert_eq!(tokens.excess(last), Some(first));
        assert_eq!(tokens.excess(other), None);
        tokens.change(first, |retired| retired.lease.note_lease());
        assert_eq!(tokens.excess(last), Some(second));
        tokens.remove(second);
        assert_eq!(tokens.excess(last), None);
    }

    #[test]
    fn connection_of_many_tokens_is_kept_once() {
        let mut tokens = RetiredTokens::default();
        let numbers: Vec<_> = (0..4_u8)
            .map(|number| tokens.insert(&issuer(number), &login(number), lease(number.into())))
            .collect();
        let login = |index: usize| &tokens.get(numbers[index]).unwrap().vault.login;
        assert!(Arc::ptr_eq(login(0), login(2)) && Arc::ptr_eq(login(1), login(3)));
        assert!(!Arc::ptr_eq(login(0), login(1)));
    }
}
