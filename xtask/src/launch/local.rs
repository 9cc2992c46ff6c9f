//! This machine: `fp8lm spawn` starts the processes, watches them, and starts them again.

use super::{job::Job, shell};

/// The shell script.
pub(super) fn render(job: &Job) -> String {
    let spawn = [
        format!("exec {} spawn", shell::quote(&job.program)),
        format!("--processes {}", job.processes),
        format!("--max-restarts {}", job.max_restarts),
        format!("--logs {} --", shell::quote(&job.logs)),
    ];
    let command = shell::command(spawn.into_iter().chain(job.train()));
    format!("#!/bin/sh\n# {}\n{command}", job.summary())
}
