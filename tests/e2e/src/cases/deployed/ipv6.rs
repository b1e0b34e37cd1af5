//! A cluster whose pods and Services have IPv6 addresses only.

use anyhow::ensure;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::report;
use crate::servers::env::Env;
use crate::servers::kind::{self, Shape};
use crate::servers::provider::Provider;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// The chart with its default addresses becomes ready there, and signs.
pub(crate) async fn ipv6(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let first = test.env.cluster()?;
    let dir = first.file("ipv6");
    std::fs::create_dir_all(&dir)?;
    let (client, vault, cluster) = kind::start(&dir, Shape::Ipv6, first.engine().cloned()).await?;
    let addresses: Vec<String> = cluster
        .pods()
        .await?
        .into_iter()
        .filter_map(|pod| pod.status?.pod_ip)
        .collect();
    ensure!(
        addresses.len() == 2 && addresses.iter().all(|address| address.contains(':')),
        "the addresses of the pods are {addresses:?}"
    );
    let env = Env::new(client, vault, Provider::Kind(cluster));
    let test = TestNamespace::open(&env, test.case).await?;
    test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("six.example.com"))?;
    test.request("six", &csr.pem, Ask::default()).await?;
    test.issued("six", &csr, SOON).await?;
    report::no_secrets(&test).await
}
