//! The command line. Flags that cert-manager has too bear the same names.

mod ambient;
mod cluster;
mod csrs;
mod drop_in;
mod leader;
mod migrate;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use issuer_core::SizeLimits;
use issuer_core::target::ServerPattern;

pub use self::ambient::AmbientArgs;
pub use self::cluster::{ClusterArgs, ResourceNamespaceArgs};
pub use self::csrs::CsrArgs;
pub use self::drop_in::{DropInArgs, IssuerStatusChoice};
pub use self::leader::LeaderArgs;
pub use self::migrate::MigrateArgs;
pub use self::watch::WatchArgs;
pub use crate::issuer_name::IssuerName;

/// Signs cert-manager's CertificateRequests with HashiCorp Vault or OpenBao.
#[derive(Clone, Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Args {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the binary.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Checks step by step whether an issuer can sign
    Check(CheckArgs),
    /// Writes a script that completes the command line in a shell
    Completion(CompletionArgs),
    /// Runs the controller
    #[cfg(feature = "cluster")]
    Controller(ControllerArgs),
    /// Writes the resources that replace cert-manager's Vault issuers, as YAML for review
    Migrate(MigrateArgs),
    /// Signs a certificate signing request with an issuer
    Sign(SignArgs),
}

/// The flags of the controller. Every flag has an environment variable. Of a flag that is given twice, the last
/// counts, so that arguments appended by a chart override its own.
#[derive(Clone, Debug, Parser)]
#[command(args_override_self = true)]
pub struct ControllerArgs {
    /// The namespaces and kinds that the controller watches.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// The namespace in which VaultClusterIssuers have their Secrets and service accounts [default: the pod's]
    #[arg(long, env = "VAULT_ISSUER_CLUSTER_RESOURCE_NAMESPACE")]
    pub cluster_resource_namespace: Option<String>,
    /// The number of CertificateRequests of one issuer that are processed at once
    #[arg(
        long,
        env = "VAULT_ISSUER_MAX_CONCURRENT_RECONCILES",
        default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    pub max_concurrent_reconciles: u16,
    /// The size of the largest certificate that cert-manager reads, in bytes of PEM: its flag of this name
    #[arg(long, env = "VAULT_ISSUER_MAX_CERTIFICATE_SIZE", default_value_t = SizeLimits::default().certificate)]
    pub max_certificate_size: usize,
    /// The size of the largest certificate chain that cert-manager reads, in bytes of PEM: its flag of this name
    #[arg(long, env = "VAULT_ISSUER_MAX_CERTIFICATE_CHAIN_LENGTH", default_value_t = SizeLimits::default().chain)]
    pub max_certificate_chain_length: usize,
    /// The number of lost answers (timeouts, or server errors while its issuer passes its checks) after which a
    /// CertificateRequest fails
    #[arg(
        long,
        env = "VAULT_ISSUER_MAX_LOST_ANSWERS",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..),
    )]
    pub max_lost_answers: u32,
    /// The average rate of events per second about issued certificates; bursts may be ten times as large. All other
    /// events are recorded as long as the API server keeps up
    #[arg(long, env = "VAULT_ISSUER_EVENT_RATE", default_value_t = 10)]
    pub event_rate: u32,
    /// The timeout of a request to sign
    #[arg(long, env = "VAULT_ISSUER_SIGN_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub sign_timeout: Duration,
    /// Where to serve /metrics: an address and port, :PORT for all addresses, or 0 for none
    #[arg(
        long,
        env = "VAULT_ISSUER_METRICS_BIND_ADDRESS",
        default_value = "[::]:9402",
        value_parser = address,
    )]
    pub metrics_bind_address: Address,
    /// Where to serve /livez, /healthz and /readyz: an address and port, :PORT for all addresses, or 0 for none
    #[arg(
        long,
        env = "VAULT_ISSUER_HEALTH_PROBE_BIND_ADDRESS",
        default_value = "[::]:8081",
        value_parser = address,
    )]
    pub health_probe_bind_address: Address,
    /// How replicas elect a leader.
    #[command(flatten)]
    pub leader: LeaderArgs,
    /// How often an issuer that is ready is checked again
    #[arg(
        long,
        env = "VAULT_ISSUER_ISSUER_CHECK_INTERVAL",
        default_value = "60s",
        value_parser = duration,
    )]
    pub issuer_check_interval: Duration,
    /// Whether issuers may name http:// servers, to which credentials are sent in cleartext
    #[arg(
        long,
        env = "VAULT_ISSUER_ALLOW_HTTP",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub allow_http: bool,
    /// Servers that issuers may name with http:// although --allow-http is not set, with commas in between: hosts,
    /// domains such as *.example.com, and networks of servers that are named by address
    #[arg(
        long,
        env = "VAULT_ISSUER_ALLOW_HTTP_SERVERS",
        value_name = "SERVERS",
        value_delimiter = ','
    )]
    pub allow_http_servers: Vec<ServerPattern>,
    /// Audiences that service account tokens may have besides vault://.. and the server's URL, with commas in between.
    /// The API server's own would let the issuer's server act as the service account
    #[arg(
        long,
        env = "VAULT_ISSUER_ALLOW_AUDIENCES",
        value_name = "AUDIENCES",
        value_delimiter = ','
    )]
    pub allow_audiences: Vec<String>,
    /// Servers that issuers may name, with commas in between: hosts, domains such as *.example.com, and networks such
    /// as 10.0.0.0/8 [default: all but those at loopback, link-local and other special addresses]
    #[arg(
        long,
        env = "VAULT_ISSUER_ALLOWED_SERVERS",
        value_name = "SERVERS",
        value_delimiter = ','
    )]
    pub allowed_servers: Vec<ServerPattern>,
    /// Whether each CertificateRequest is claimed with a write of its status before it is signed: two replicas that
    /// both believe that they lead then sign it only once, at the cost of a write and a read for each certificate
    #[arg(
        long,
        env = "VAULT_ISSUER_CLAIM_REQUESTS",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub claim_requests: bool,
    /// The kubeconfig file [default: KUBECONFIG, the pod's service account, or ~/.kube/config]
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Which of cert-manager's own issuers are served, and how.
    #[command(flatten)]
    pub drop_in: DropInArgs,
    /// Which requests are served besides cert-manager's.
    #[command(flatten)]
    pub csrs: CsrArgs,
    /// Which issuers may log in as the controller's pod.
    #[command(flatten)]
    pub ambient: AmbientArgs,
    /// How the controller logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The level and format of the log, which goes to stderr.
#[derive(Clone, Debug, Parser)]
pub struct LogArgs {
    /// The level of the log: error, warn, info, debug, trace, or directives such as info,issuer_kube=debug
    #[arg(long, env = "VAULT_ISSUER_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// The format of the log
    #[arg(long, env = "VAULT_ISSUER_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// One line of text.
    Text,
}

/// The issuer, and the place of its Secrets.
#[derive(Clone, Debug, Parser)]
pub struct IssuerArgs {
    /// The issuer, such as vaultissuer/NAME or vaultclusterissuer/NAME, or cert-manager's own issuer/NAME or
    /// clusterissuer/NAME; in the cluster, unless files are given
    #[arg(value_name = "KIND/NAME", required_unless_present = "files")]
    pub issuer: Option<IssuerName>,
    /// A YAML file with the issuer, the Secrets it refers to, or both; - is the standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The namespace of a VaultIssuer or Issuer [default: the kubeconfig's; in files, default]
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Where cluster issuers have their Secrets.
    #[command(flatten)]
    pub namespaces: ResourceNamespaceArgs,
    /// A file with a token of the service account that the issuer names, as kubectl create token writes it [default:
    /// the cluster issues one; with files, the cluster of --context or --kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub service_account_token: Option<PathBuf>,
    /// Whether the issuer may name an http:// server, to which credentials are sent in cleartext
    #[arg(long)]
    pub allow_http: bool,
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// The arguments of `check`.
#[derive(Clone, Debug, Parser)]
pub struct CheckArgs {
    /// The issuer.
    #[command(flatten)]
    pub issuer: IssuerArgs,
    /// The namespace of the controller, whose rights are compared with what the issuer needs
    #[arg(long, default_value = "vault-issuer")]
    pub controller_namespace: String,
    /// The service account of the controller
    #[arg(long, default_value = "vault-issuer")]
    pub controller_service_account: String,
}

impl ControllerArgs {
    /// Checks that no flags contradict each other.
    ///
    /// # Errors
    ///
    /// A message about those that do.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.csrs.sign_kubernetes_csrs && !self.watch.namespaces.is_empty() {
            return Err(
                "--namespace and --sign-kubernetes-csrs do not go together: CertificateSigningRequests are in no namespace",
            );
        }
        Ok(())
    }
}

/// The arguments of `completion`.
#[derive(Clone, Debug, Parser)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The arguments of `sign`.
#[derive(Clone, Debug, Parser)]
pub struct SignArgs {
    /// The issuer.
    #[command(flatten)]
    pub issuer: IssuerArgs,
    /// The certificate signing request, PEM; - is the standard input
    #[arg(long, value_name = "FILE")]
    pub csr: PathBuf,
    /// How long the certificate shall be valid, such as 24h [default: 2160h]
    #[arg(long, value_parser = duration_text)]
    pub duration: Option<String>,
    /// Requests a CA certificate
    #[arg(long)]
    pub is_ca: bool,
    /// Where the certificate and its intermediates go, PEM [default: the standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The file for the CA certificate, PEM
    #[arg(long = "ca-out", value_name = "FILE")]
    pub ca_output: Option<PathBuf>,
}

/// Where to listen, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub Option<SocketAddr>);

fn address(text: &str) -> Result<Address, String> {
    if text == "0" {
        return Ok(Address(None));
    }
    let text = if text.starts_with(':') {
        format!("[::]{text}")
    } else {
        text.to_owned()
    };
    let wrong = |_| "give ADDRESS:PORT, such as 127.0.0.1:9402 or :9402, or 0 for none".to_owned();
    text.parse().map(Some).map(Address).map_err(wrong)
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    issuer_core::duration::parse(text)
        .filter(|duration| duration.as_secs() > 0)
        .ok_or("give a duration of a second or more, such as 15s, 1m30s or 24h")
}

/// Checks a duration that is passed on as text; `0s` stands for the role's default.
fn duration_text(text: &str) -> Result<String, &'static str> {
    match issuer_core::duration::parse(text) {
        Some(Duration::ZERO) => Ok(text.to_owned()),
        _ => duration(text).map(|_| text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn controller(flags: &[&str]) -> Result<ControllerArgs, String> {
        let args = ["vault-issuer", "controller"].iter().chain(flags);
        match Args::try_parse_from(args).map_err(|error| error.to_string())?.command {
            Command::Controller(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn csrs_are_in_no_namespace() {
        let check = |flags: &[&str]| controller(flags).unwrap().check();
        check(&["--namespace=web"]).unwrap();
        check(&["--sign-kubernetes-csrs"]).unwrap();
        check(&["--namespace=web", "--sign-kubernetes-csrs"]).unwrap_err();
    }

    #[test]
    fn defaults_are_as_documented() {
        let args = controller(&[]).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(args.cluster_resource_namespace, None);
        assert_eq!(args.max_concurrent_reconciles, 10);
        assert_eq!(
            (args.max_certificate_size, args.max_certificate_chain_length),
            (36_500, 95_000)
        );
        assert_eq!(args.max_lost_answers, 3);
        assert_eq!(args.event_rate, 10);
        assert_eq!(args.sign_timeout, seconds(60));
        assert_eq!(args.metrics_bind_address, Address("[::]:9402".parse().ok()));
        assert_eq!(args.health_probe_bind_address, Address("[::]:8081".parse().ok()));
        assert!(args.leader.leader_elect && !args.allow_http && !args.csrs.sign_kubernetes_csrs);
        assert!(!args.ambient.issuer_ambient_credentials && args.ambient.cluster_issuer_ambient_credentials);
        assert!(args.allow_audiences.is_empty() && args.allowed_servers.is_empty());
        assert_eq!(args.leader.leader_election_namespace, None);
        assert_eq!(args.leader.leader_election_id, "vault-issuer");
        assert_eq!(args.leader.leader_election_lease_duration, seconds(15));
        assert_eq!(args.leader.leader_election_renew_deadline, seconds(10));
        assert_eq!(args.leader.leader_election_retry_period, seconds(2));
        assert_eq!(args.issuer_check_interval, seconds(60));
        assert_eq!(
            (args.log.log_level.as_str(), args.log.log_format),
            ("info", LogFormat::Text)
        );
    }

    #[test]
    fn flags_have_the_forms_of_go() {
        let args = controller(&[
            "--leader-elect",
            "--allow-http=true",
            "--allow-audiences=a,b",
            "--allow-http-servers=vault.lab",
            "--allowed-servers=vault.example.com,10.0.0.0/8",
            "--metrics-bind-address=0",
            "--health-probe-bind-address=:8082",
            "--issuer-check-interval",
            "1m30s",
            "--max-concurrent-reconciles=3",
            "--log-format=json",
        ])
        .unwrap();
        assert!(args.leader.leader_elect && args.allow_http);
        assert_eq!(args.allow_audiences, ["a", "b"]);
        assert_eq!((args.allowed_servers.len(), args.allow_http_servers.len()), (2, 1));
        assert_eq!(args.metrics_bind_address, Address(None));
        assert_eq!(args.health_probe_bind_address, Address("[::]:8082".parse().ok()));
        assert_eq!(args.issuer_check_interval, Duration::from_secs(90));
        assert_eq!(args.max_concurrent_reconciles, 3);
        assert_eq!(args.log.log_format, LogFormat::Json);
        assert!(!controller(&["--leader-elect=false"]).unwrap().leader.leader_elect);
        assert!(controller(&["--allow-http"]).unwrap().allow_http);
        let last = controller(&["--metrics-bind-address=0.0.0.0:1", "--metrics-bind-address=[::1]:2"]);
        assert_eq!(last.unwrap().metrics_bind_address, Address("[::1]:2".parse().ok()));
    }

    #[test]
    fn bad_flags_are_explained() {
        for (flag, message) in [
            (
                "--metrics-bind-address=localhost",
                "give ADDRESS:PORT, such as 127.0.0.1:9402 or :9402, or 0 for none",
            ),
            (
                "--issuer-check-interval=60",
                "give a duration of a second or more, such as 15s, 1m30s or 24h",
            ),
            (
                "--leader-election-retry-period=1ms",
                "give a duration of a second or more",
            ),
            ("--max-concurrent-reconciles=0", "0 is not in 1..=65535"),
            ("--leader-elect=maybe", "[possible values: true, false]"),
            ("--log-format=xml", "[possible values: json, text]"),
            ("--leader-elec", "a similar argument exists: '--leader-elect'"),
        ] {
            let error = controller(&[flag]).unwrap_err();
            assert!(error.contains(message), "{flag}: {error}");
        }
    }

    #[test]
    fn check_and_sign_need_an_issuer() {
        let parse = |args: &[&str]| Args::try_parse_from(args).map_err(|error| error.to_string());
        let error = parse(&["vault-issuer", "check"]).unwrap_err();
        assert!(error.contains("<KIND/NAME>"), "{error}");
        let error = parse(&["vault-issuer", "sign", "-f", "x"]).unwrap_err();
        assert!(error.contains("--csr <FILE>"), "{error}");
        assert!(parse(&["vault-issuer", "check", "-f", "a", "-f", "b"]).is_ok());
        assert!(
            parse(&[
                "vault-issuer",
                "sign",
                "vaultissuer/a",
                "--csr",
                "-",
                "--duration",
                "1d"
            ])
            .is_err()
        );
    }
}
