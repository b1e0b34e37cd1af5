//! A cluster whose pods and Services have IPv6 addresses only.

use anyhow::ensure;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// The chart with its default addresses becomes ready there, and signs.
pub(crate) async fn ipv6(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let addresses: Vec<String> = test
        .env
        .cluster()?
        .release()?
        .pods()
        .await?
        .into_iter()
        .filter_map(|pod| pod.status?.pod_ip)
        .collect();
    ensure!(
        addresses.len() == 2 && addresses.iter().all(|address| address.contains(':')),
        "the addresses of the pods are {addresses:?}"
    );
    test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("six.example.com"))?;
    test.request("six", &csr.pem, Ask::default()).await?;
    test.issued("six", &csr, SOON).await.map(drop)
}
