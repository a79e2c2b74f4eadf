//! `mobilebert-cluster`: the scheduler, the executors and the client of a cluster that knows the functions.

mod codec;
mod nodes;

use std::io::{self, BufWriter};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mobilebert_sql::shell::{self, ShellArgs};
use mobilebert_sql::{Registry, Session, Settings};

/// SQL over texts on a cluster of Apache Ballista.
///
/// Nothing here is encrypted, and nobody is asked who he is: all parts belong into a network whose machines are
/// trusted. All of them listen on 127.0.0.1 unless they are told otherwise.
#[derive(Debug, Parser)]
#[command(name = "mobilebert-cluster", version)]
struct Args {
    /// Gives a model a name for queries; has to be the same files on each machine
    #[arg(long = "model", global = true, value_name = "NAME=SOURCE", value_parser = shell::named)]
    models: Vec<(String, String)>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes queries and gives their tasks to executors
    Scheduler(nodes::SchedulerArgs),
    /// Runs tasks
    Executor(nodes::ExecutorArgs),
    /// Runs queries on the cluster
    Sql(SqlArgs),
}

/// `mobilebert-cluster sql`
#[derive(Debug, clap::Args)]
struct SqlArgs {
    /// The scheduler
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "HOST:PORT")]
    scheduler: String,
    /// The number of parts that tables are read in, at least the cores of all executors
    #[arg(long, default_value_t = 16, value_name = "N")]
    partitions: usize,
    /// The number of rows that a function gets at once
    #[arg(long, default_value_t = 1024, value_name = "N")]
    batch_size: usize,
    #[command(flatten)]
    shell: ShellArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut settings = Settings::with(|settings| settings.models = args.models);
    let registry = settings.registry();
    let threads = match &args.command {
        Command::Executor(args) => args.vcores,
        _ => settings.threads,
    };
    let runtime = match mobilebert_sql::runtime(threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mobilebert-cluster: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match args.command {
            Command::Scheduler(args) => nodes::scheduler(args, registry).await.map(|()| 0),
            Command::Executor(args) => nodes::executor(args, registry).await.map(|()| 0),
            Command::Sql(args) => {
                settings.threads = args.partitions.max(1);
                settings.batch_size = args.batch_size.max(1);
                sql(&args, &settings, registry).await
            }
        }
    });
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("mobilebert-cluster: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn sql(args: &SqlArgs, settings: &Settings, registry: Registry) -> Result<u8, String> {
    let context = nodes::client(&args.scheduler, settings, registry.clone()).await?;
    let session = Session::of(context, registry).map_err(|error| error.to_string())?;
    let (mut out, mut err) = (BufWriter::new(io::stdout().lock()), io::stderr());
    Ok(shell::run("mobilebert-cluster", &session, &args.shell, &mut out, &mut err).await)
}
