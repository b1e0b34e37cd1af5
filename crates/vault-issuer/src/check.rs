//! `vault-issuer check`: the check that the controller runs, with a line for each step.

use std::io::{self, Write};

use anyhow::bail;
use issuer_core::access::{self, Access, AccessError, CheckOutcome, Held, ReadError};
use issuer_core::reference::{IssuerKind, TokenSource};
use issuer_core::target::{
    AllowedAudiences, AllowedServers, AmbientAws, AwsEnvironment, IssuerPolicy, ServiceAccount, Target,
};
use issuer_core::vault::Revoke;
use issuer_core::{Operation, Reply, Request, Secret, Step, TransportError};
use issuer_ureq::Driver;

use crate::args::{CheckArgs, IssuerArgs};
use crate::manifest::Issuer;
use crate::proxies::proxies;
use crate::remedy::Needs;
use crate::source::{Right, Source};

/// Checks issuers with a line for each step; fails if one of them cannot sign.
pub(crate) fn run(args: &CheckArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (issuers, source) = Source::find(&args.issuer)?;
    let controller = ServiceAccount {
        namespace: args.controller_namespace.clone(),
        name: args.controller_service_account.clone(),
    };
    let mut failures = Vec::new();
    for issuer in &issuers {
        let mut check = Check::new(&args.issuer, &source, out);
        if let Err(cause) = check.run(issuer, &controller) {
            failures.push(format!("{} cannot sign: {cause:#}", issuer.key));
        } else {
            writeln!(out, "{} can sign.", issuer.key)?;
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        bail!(failures.join("\n"))
    }
}

/// The check of issuers from one source: the core's own, which the controller runs, with a line for each step.
pub(crate) struct Check<'a> {
    args: &'a IssuerArgs,
    source: &'a Source,
    driver: Driver,
    out: &'a mut dyn Write,
    /// Whether the server has been reached.
    reached: bool,
    /// Whether the step that failed has its line.
    failed: bool,
    /// The rights that the issuer takes.
    rights: Vec<Right>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(args: &'a IssuerArgs, source: &'a Source, out: &'a mut dyn Write) -> Self {
        Self {
            args,
            source,
            driver: Driver::new(),
            out,
            reached: false,
            failed: false,
            rights: Vec::new(),
        }
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Checks an issuer, and revokes the token that it logged in for. Compares the rights of the controller with those that
    /// the issuer takes: the check itself has the user's.
    fn run(&mut self, issuer: &Issuer, controller: &ServiceAccount) -> anyhow::Result<()> {
        let access = self.establish(issuer);
        for right in self.source.lacking(controller, &self.rights) {
            writeln!(
                self.out,
                "  warning rights: the controller ({}/{}) may not {right}",
                controller.namespace, controller.name
            )?;
        }
        if let Some(difference) = self.source.different_condition(&issuer.key, access.is_ok()) {
            writeln!(self.out, "  warning {difference}")?;
        }
        let access = access?;
        self.revoke(&access)?;
        for trace in self.source.built_in_traces(&issuer.key) {
            // That requests cannot be listed is no fault of the issuer.
            let line = trace.unwrap_or_else(|error| format!("built-in: not looked for, since {error:#}"));
            writeln!(self.out, "  warning {line}")?;
        }
        Ok(())
    }

    /// Checks that the issuer can sign, and returns its access.
    pub(crate) fn establish(&mut self, issuer: &Issuer) -> anyhow::Result<Access> {
        writeln!(self.out, "{}", issuer.key)?;
        let namespace: &str = match issuer.key.kind {
            IssuerKind::Cluster => &self.args.namespaces.cluster_resource_namespace,
            IssuerKind::DropInCluster => &self.args.namespaces.drop_in_cluster_resource_namespace,
            IssuerKind::DropInNamespaced | IssuerKind::Namespaced => &issuer.key.namespace,
        };
        let policy = self.policy()?;
        let target = match Target::parse(&issuer.spec, &issuer.key, namespace, &policy) {
            Ok(target) => target,
            Err(error) => {
                self.failed("spec")?;
                return Err(self.named(&error.into()));
            }
        };
        self.passed("spec", &describe(&target))?;
        if target.method.is_wrapped() {
            bail!(
                "the secret ID is wrapped, and its wrapping token can be used once: by the controller, which reports the \
                 result in the condition Ready of the issuer"
            );
        }
        let needs = Needs::of(&target, issuer, namespace);
        writeln!(self.out, "  needs   policy: {}", needs.policy())?;
        let CheckOutcome { access, verdict, .. } =
            self.drive(access::begin(target, namespace, Held::default(), Driver::now()))?;
        match (access, verdict) {
            (Some(access), Ok(())) => Ok(access),
            (access, verdict) => {
                if let Some(access) = access {
                    self.revoke(&access)?;
                }
                match verdict {
                    Err(error) => {
                        for command in needs.commands(&error) {
                            writeln!(self.out, "  try     {command}")?;
                        }
                        Err(self.named(&error))
                    }
                    Ok(()) => bail!("there is no token to sign with"),
                }
            }
        }
    }

    /// Returns a policy that permits what the operator could permit: the flags of the controller are not known here.
    fn policy(&self) -> anyhow::Result<IssuerPolicy> {
        Ok(IssuerPolicy {
            allow_http: self.args.allow_http,
            ambient_aws: AmbientAws {
                issuers: true,
                cluster_issuers: true,
                environment: AwsEnvironment::read(|name| std::env::var(name).ok()),
            },
            http_servers: Vec::new(),
            allowed_audiences: AllowedAudiences::All,
            allowed_servers: AllowedServers::All,
            proxies: proxies()?,
            own_account: None,
        })
    }

    /// Revokes the token, if it was obtained here and no certificate would be revoked with it.
    pub(crate) fn revoke(&mut self, access: &Access) -> io::Result<()> {
        if let Some(warning) = access.warning() {
            writeln!(self.out, "  warning {}", warning.message())?;
        }
        let Step::Send(request, _) = Revoke::begin(&access.vault, &access.lease) else {
            return Ok(());
        };
        match self.driver.call(request) {
            Ok(reply) if reply.status().is_success() => self.passed("logout", "the token was revoked"),
            _ => writeln!(
                self.out,
                "  warning logout: the token was not revoked; it expires by itself"
            ),
        }
    }

    /// Answers the questions of the core's check until it is done.
    fn drive(&mut self, mut step: access::Step) -> anyhow::Result<CheckOutcome> {
        loop {
            step = match step {
                access::Step::ReadConfigMap(config_map, state) => {
                    let answer = self.source.config_map(&config_map);
                    self.read(Right::of_config_map(&config_map), &answer)?;
                    state.resume(Driver::now(), answer)
                }
                access::Step::ReadSecret(secret, state) => {
                    let answer = self.source.secret(&secret);
                    self.read(Right::of_secret(&secret), &answer)?;
                    state.resume(Driver::now(), answer)
                }
                access::Step::MintToken(TokenSource::File(path), state) => {
                    let answer = std::fs::read(&path).map(Secret::from);
                    match &answer {
                        Ok(_) => self.passed(&path, "a token of this pod")?,
                        Err(_) => self.failed(&path)?,
                    }
                    state.resume(Driver::now(), answer.map_err(|_| ReadError::Unavailable))
                }
                access::Step::MintToken(TokenSource::Requested(spec), state) => {
                    let right = Right::of_token(&spec);
                    let name = right.object();
                    self.rights.push(right);
                    let Some((answer, note)) = self.source.token(&spec) else {
                        self.failed(&name)?;
                        bail!(
                            "no token of the service account: give one with --service-account-token FILE (kubectl create \
                             token {} --namespace {} --audience {}), or name a cluster that issues it with --context or \
                             --kubeconfig",
                            spec.service_account,
                            spec.namespace,
                            spec.audiences.join(",")
                        );
                    };
                    match &answer {
                        Ok(_) => self.passed(&name, &note)?,
                        Err(_) => self.failed(&name)?,
                    }
                    state.resume(Driver::now(), answer)
                }
                access::Step::Exchange(request, state) => {
                    let operation = request.operation;
                    let reply = self.exchange(request)?;
                    let next = state.resume(Driver::now(), reply);
                    match &next {
                        access::Step::Exchange(login, _)
                            if operation == Operation::Login && login.operation == operation =>
                        {
                            self.passed("credentials", "AWS gave keys to log in with")?
                        }
                        access::Step::Done(CheckOutcome { verdict: Err(_), .. }) => {
                            self.failed(step_name(operation))?
                        }
                        _ => self.passed(step_name(operation), step_note(operation))?,
                    }
                    next
                }
                access::Step::Done(outcome) => {
                    if outcome.verdict.is_err() {
                        self.failed("Secrets")?;
                    }
                    return Ok(outcome);
                }
            }
        }
    }

    /// Writes the line of a Secret or ConfigMap that was read.
    fn read(&mut self, right: Right, answer: &Result<access::SecretData, ReadError>) -> io::Result<()> {
        let name = right.object();
        self.rights.push(right);
        match answer {
            Ok(data) => self.passed(&name, &format!("keys {}", keys(data))),
            Err(_) => self.failed(&name),
        }
    }

    /// Sends a request; the first one shows whether the server can be reached at all.
    fn exchange(&mut self, request: Request) -> io::Result<Reply> {
        let connect = request.connect.clone();
        let reply = self.driver.call(request);
        if !self.reached {
            for certificate in self.driver.presented_certificates(&connect) {
                writeln!(self.out, "  server  {certificate}")?;
            }
            use TransportError::{Connect, Dial, Proxy, Tls};
            if let Err(Connect(_) | Dial(_) | Proxy(_) | Tls(_)) = reply {
                self.failed("connect")?;
            } else {
                let origin = &connect.origin;
                let name = connect.server_name.as_deref().unwrap_or_else(|| origin.host());
                let tls = if origin.is_tls() {
                    format!("TLS, certificate of {name}")
                } else {
                    "no TLS".to_owned()
                };
                let through = connect.proxy().map(|proxy| format!(" through proxy {proxy}"));
                let through = through.unwrap_or_default();
                self.passed(
                    "connect",
                    &format!("{}:{}{through}, {tls}", origin.host(), origin.port()),
                )?;
                self.reached = true;
            }
        }
        Ok(reply)
    }

    /// Returns the cause, with the reason that the issuer's condition would have.
    fn named(&self, error: &AccessError) -> anyhow::Error {
        anyhow::anyhow!("{error} ({}){}", error.reason(), self.source.hint(error))
    }

    fn passed(&mut self, step: &str, note: &str) -> io::Result<()> {
        writeln!(self.out, "  ok      {step}: {note}")
    }

    /// Writes the line of the first failure; later ones follow from it.
    fn failed(&mut self, step: &str) -> io::Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Ok(());
        }
        writeln!(self.out, "  FAILED  {step}")
    }
}

fn keys(secret: &access::SecretData) -> String {
    secret.data.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn describe(target: &Target) -> String {
    format!(
        "{} signs at {}, login with {}",
        target.origin,
        target.path.as_str(),
        target.method
    )
}

fn step_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Health => "health",
        Operation::Login => "login",
        Operation::Lookup => "token",
        Operation::Probe => "right to sign",
        Operation::Renew => "renewal",
        Operation::Revoke => "logout",
        Operation::Sign => "sign",
    }
}

fn step_note(operation: Operation) -> &'static str {
    match operation {
        Operation::Health => "initialized, unsealed, active",
        Operation::Login => "Vault gave a token",
        Operation::Lookup => "Vault knows it",
        Operation::Probe => "the path takes CSRs with this token",
        Operation::Renew => "the token was renewed",
        Operation::Revoke => "the token was revoked",
        Operation::Sign => "a certificate was signed",
    }
}
