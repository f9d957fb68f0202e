//! How much memory queries may take before they spill to disk.

use std::fs;

/// The most that the queries of one process take, whatever the machine has.
const CEILING: u64 = 4 << 30;

/// Bytes that the queries of this process may take: three quarters of what the machine, or the container that the
/// process lives in, has, and at most 4 GiB.
pub(crate) fn limit() -> usize {
    let text = |path: &str| fs::read_to_string(path).ok();
    let known = [
        text("/proc/meminfo").as_deref().and_then(machine),
        text("/sys/fs/cgroup/memory.max").as_deref().and_then(container),
        text("/sys/fs/cgroup/memory/memory.limit_in_bytes").as_deref().and_then(container),
    ];
    let bytes = known.into_iter().flatten().min().map_or(CEILING, |all| (all / 4 * 3).min(CEILING));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Bytes of memory as `/proc/meminfo` says them.
fn machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Bytes that a control group may take; none where it says `max`.
fn container(limit: &str) -> Option<u64> {
    limit.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_system_writes_them() {
        assert_eq!(machine("MemTotal:       16 kB\nMemFree: 3 kB\n"), Some(16 << 10));
        assert_eq!(machine("nothing"), None);
        assert_eq!(container("1073741824\n"), Some(1 << 30));
        assert_eq!(container("max\n"), None);
        assert!(limit() <= usize::try_from(CEILING).unwrap());
    }
}
