//! The command line: parses arguments, reads the configuration and connects the parts. Each command has its own
//! module.

mod aws_operator;
mod branches;
mod broker;
mod broker_source;
mod certs;
pub mod check;
mod columns;
mod crds;
mod excluded_containers;
mod given_namespaces;
pub mod inject;
mod manifest;
mod migrate;
mod native_injection;
mod policies;
mod policy_webhook;
mod registration;
mod restore;
mod rotate_admin;
mod serve;
mod sweep;
mod uninstall;
mod who;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::telemetry::{
    logs::{self, LogFormat},
    traces::Traces,
};

/// bindery gives every pod the credentials it is bound to: an Open Service Broker, the Service Catalog API and an
/// injecting webhook in one binary.
#[derive(Debug, clap::Parser)]
#[command(name = "bindery", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The format of the log lines on stderr.
    #[arg(long, global = true, env = "BINDERY_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// The log filter for bindery's own events, in the syntax of `RUST_LOG`: `info`, `bindery::catalog=debug,warn`.
    /// Events of libraries are never logged, because they may contain credentials.
    #[arg(long = "log", global = true, env = "BINDERY_LOG", default_value = "info", value_name = "FILTER")]
    log_filter: String,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    // The doc comments of the argument structs become the help texts of the commands.
    Serve(Box<serve::ServeArgs>),
    Broker(broker::BrokerArgs),
    AwsOperator(aws_operator::AwsOperatorArgs),
    Inject(inject::InjectArgs),
    Check(check::CheckArgs),
    Policies(policies::PoliciesArgs),
    Crds(crds::CrdsArgs),
    #[command(hide = true)]
    NativeInjection,
    #[command(hide = true)]
    PolicyWebhook,
    Certs(certs::CertsArgs),
    Sweep(sweep::SweepArgs),
    Restore(restore::RestoreArgs),
    Migrate(migrate::MigrateArgs),
    RotateAdmin(rotate_admin::RotateAdminArgs),
    Uninstall(uninstall::UninstallArgs),
    Who(who::WhoArgs),
    Wait(branches::WaitArgs),
    Namespaces(branches::NamespacesArgs),
    Extend(branches::ExtendArgs),
}

/// Runs the command given to this process.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let failure = arguments.command.failure();
    // Only one provider is compiled in. An error means that it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = in_runtime(arguments);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // A failed write to stderr cannot be reported anywhere.
            let _ = writeln!(io::stderr(), "bindery: {error:#}");
            failure
        }
    }
}

fn in_runtime(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let traces = if arguments.command.serves() {
        let _entered = runtime.enter();
        Traces::start()?
    } else {
        None
    };
    logs::start(arguments.log_format, &arguments.log_filter, traces.as_ref())?;
    let outcome = runtime.block_on(execute(arguments.command));
    if let Some(traces) = traces {
        traces.end();
    }
    outcome
}

impl Command {
    /// Whether the command serves requests of others. Only these commands send traces.
    fn serves(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Broker(_) | Self::AwsOperator(_))
    }

    /// The exit code of an error.
    fn failure(&self) -> ExitCode {
        match self {
            Self::Inject(args) => args.failure(),
            // These use 1 for an answer.
            Self::Who(_) | Self::Check(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(*args, stop_on_signal()?).await?,
        Command::Broker(args) => broker::run(args, stop_on_signal()?).await?,
        Command::AwsOperator(args) => aws_operator::run(args, stop_on_signal()?).await?,
        Command::Inject(args) => {
            let outcome = inject::run(args, io::stdin(), io::stdout().lock(), io::stderr().lock())?;
            return Ok(outcome.into());
        }
        Command::Check(args) => {
            let outcome = check::run(args, io::stdin(), io::stdout().lock(), io::stderr().lock())?;
            return Ok(outcome.into());
        }
        Command::Policies(args) => print(&policies::run(&args).await?)?,
        Command::Crds(args) => print(&crds::run(&args).await?)?,
        Command::NativeInjection => print(&native_injection::run()?)?,
        Command::PolicyWebhook => print(&policy_webhook::run()?)?,
        Command::Certs(args) => print(&certs::run(&args)?)?,
        Command::Sweep(args) => print(&sweep::run(&args).await?)?,
        Command::Restore(args) => print(&restore::run(&args).await?)?,
        Command::Migrate(args) => print(&migrate::run(&args).await?)?,
        Command::RotateAdmin(args) => print(&rotate_admin::run(&args).await?)?,
        Command::Uninstall(args) => print(&uninstall::run(&args).await?)?,
        Command::Who(args) => {
            let (text, is_trouble) = who::run(&args).await?;
            print(&text)?;
            return Ok(if is_trouble { ExitCode::from(1) } else { ExitCode::SUCCESS });
        }
        Command::Wait(args) => return branches::wait(&args, io::stderr()).await,
        Command::Namespaces(args) => print(&branches::namespaces(&args).await?)?,
        Command::Extend(args) => print(&branches::extend(&args).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `bindery crds | head` closes the pipe early, which is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Reads a duration in the syntax of Go, such as `30m`; `None` if the text is none or the duration is too short.
fn duration_of_at_least(text: &str, least: Duration) -> Option<Duration> {
    let parsed = text.parse::<kube::core::Duration>().ok().filter(|duration| !duration.is_negative());
    parsed.map(Duration::from).filter(|duration| *duration >= least)
}

/// Returns a token that SIGTERM and SIGINT cancel.
fn stop_on_signal() -> io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        cancel.cancel();
    });
    Ok(stop)
}

/// The DNS names under which pods and the API server reach a role's Service.
fn service_names(name: &str, role: &str, namespace: &str) -> Vec<String> {
    let service = format!("{name}-{role}");
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
    ]
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
