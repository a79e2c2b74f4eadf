//! The time that processes took from the processors, as Linux counts it.

use std::fs;
use std::time::Instant;

/// The unit of the counts, a hundredth of a second in every build of Linux.
const TICK: f64 = 0.01;

/// The counts at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    at: Instant,
    own: Option<f64>,
    server: Option<f64>,
    machine: Option<f64>,
}

/// Shares of the whole machine between two moments, each from 0 to 1, where the system says them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shares {
    pub(super) generator: Option<f64>,
    pub(super) server: Option<f64>,
    /// All that is neither of them; `None` without the process of the server.
    pub(super) others: Option<f64>,
}

impl Reading {
    /// Reads the counts of this process, of the server and of the machine.
    pub(super) fn now(server: Option<u32>) -> Self {
        let of = |process: &str| {
            fs::read_to_string(format!("/proc/{process}/stat")).ok().and_then(|stat| busy_process(&stat))
        };
        Self {
            at: Instant::now(),
            own: of("self"),
            server: server.and_then(|pid| of(&pid.to_string())),
            machine: fs::read_to_string("/proc/stat").ok().and_then(|stat| busy_machine(&stat)),
        }
    }

    /// Returns who took how much since an earlier moment.
    pub(super) fn since(&self, before: &Self) -> Shares {
        let wall = self.at.saturating_duration_since(before.at).as_secs_f64();
        let all = wall * std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let share = |now: Option<f64>, before: Option<f64>| match (now, before) {
            (Some(now), Some(before)) if all > 0.0 => Some((now - before).max(0.0) / all),
            _ => None,
        };
        let (generator, server) = (share(self.own, before.own), share(self.server, before.server));
        let machine = share(self.machine, before.machine);
        let others = match (machine, generator, server) {
            (Some(machine), Some(generator), Some(server)) => Some((machine - generator - server).max(0.0)),
            _ => None,
        };
        Shares { generator, server, others }
    }
}

/// Returns the megabytes that a process had in memory at most.
pub(super) fn peak_mb(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Reads the seconds that a process was busy. Its name, in parentheses, may hold anything.
fn busy_process(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * TICK)
}

/// Reads the seconds that all processors together were busy with anything but waiting.
fn busy_machine(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let counts: Vec<f64> = line.split_whitespace().map_while(|count| count.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what guests took is part of `user`.
    let [user, nice, system, _, _, irq, soft, steal, ..] = counts[..] else { return None };
    Some((user + nice + system + irq + soft + steal) * TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_whatever_a_process_is_called() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4 9 9 9 9 250 50 0 0 20 0 9";
        assert_eq!(busy_process(stat), Some(3.0));
        assert_eq!(busy_process("7 (x"), None);
        assert_eq!(busy_machine("cpu  100 0 50 900 20 5 5 40 0 0\ncpu0 1"), Some(2.0));
        assert_eq!(busy_machine("cpu 1 2 3"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_busy_process_has_a_share() {
        let before = Reading::now(Some(std::process::id()));
        let start = Instant::now();
        let mut sum = 0u64;
        // At least a few ticks, on a machine however busy.
        while Reading::now(None).since(&before).generator < Some(1e-3) || start.elapsed().as_millis() < 50 {
            sum = std::hint::black_box(sum + 1);
        }
        let shares = Reading::now(Some(std::process::id())).since(&before);
        assert!(shares.generator > Some(0.0) && shares.server > Some(0.0), "{shares:?}");
        assert!(shares.others.is_some() && peak_mb(std::process::id()) > Some(1.0), "{shares:?}");
    }
}
