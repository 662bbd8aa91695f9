//! Processor time and memory of a process, from /proc.

use std::fs;

/// Nanoseconds that all threads of a process have run so far. Threads that ended are not counted:
/// the servers measured here keep theirs.
///
/// # Panics
/// If it is not running.
pub fn nanoseconds(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is running");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Bytes of memory that a process has in use now.
///
/// # Panics
/// If it is not running.
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:") * 1024
}

/// Bytes of memory that a process had in use at its height.
///
/// # Panics
/// If it is not running.
pub fn resident_peak(pid: u32) -> u64 {
    status(pid, "VmHWM:") * 1024
}

fn status(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let line = status.lines().find(|line| line.starts_with(key)).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("it is a number")
}
