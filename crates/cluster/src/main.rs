//! `mobilebert-cluster`: the scheduler, the executors and the client of a cluster that knows the functions.

mod cancel;
mod codec;
mod engine;
mod nodes;

use std::io::{self, BufWriter};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mobilebert_sql::shell::{self, ShellArgs};
use mobilebert_sql::{Registry, Session, Settings};
use tokio::runtime::Runtime;

use crate::cancel::Cluster;

/// SQL over texts on a cluster of Apache Ballista.
///
/// Nothing here is encrypted, and nobody is asked who he is: all parts belong into a network whose machines
/// are trusted. All of them listen on 127.0.0.1 unless they are told otherwise.
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
    #[arg(long, default_value = "16", value_name = "N", value_parser = shell::number(1, MOST_PARTITIONS))]
    partitions: usize,
    /// The number of rows that a function gets at once
    #[arg(long, default_value = "1024", value_name = "N")]
    #[arg(value_parser = shell::number(1, shell::MOST_BATCH_SIZE))]
    batch_size: usize,
    #[command(flatten)]
    shell: ShellArgs,
}

/// Each part is a task, which the scheduler keeps in memory.
const MOST_PARTITIONS: usize = 1 << 14;

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
    let ended = match args.command {
        Command::Scheduler(args) => runtime.block_on(nodes::scheduler(args, registry)).map(|()| 0),
        Command::Executor(args) => runtime.block_on(nodes::executor(args, registry)).map(|()| 0),
        Command::Sql(args) => {
            settings.threads = args.partitions;
            settings.batch_size = args.batch_size;
            sql(&args, &settings, registry, &runtime)
        }
    };
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("mobilebert-cluster: {message}");
            ExitCode::FAILURE
        }
    }
}

fn sql(args: &SqlArgs, settings: &Settings, registry: Registry, runtime: &Runtime) -> Result<u8, String> {
    let context = runtime.block_on(nodes::client(&args.scheduler, settings, registry.clone()))?;
    let session = Session::of(context, registry).map_err(|error| error.to_string())?;
    let (mut out, mut err) = (BufWriter::new(io::stdout().lock()), io::stderr());
    let cluster = Cluster { scheduler: args.scheduler.clone() };
    let workers = runtime.handle();
    Ok(shell::run("mobilebert-cluster", &session, &args.shell, &cluster, workers, &mut out, &mut err))
}
