//! What the assembler says of the kernels that it compiled: `ptxas --verbose`.

use anyhow::{Context, Result};

/// What a kernel takes of a multiprocessor, and whether it is kept waiting for memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) name: String,
    /// Registers of a thread.
    pub(super) registers: u32,
    /// Bytes of shared memory of a block, without what a launch adds.
    pub(super) shared: u32,
    /// Bytes of local memory of a thread, functions that are called among them.
    pub(super) stack: u32,
    /// Bytes that are written for want of registers.
    pub(super) spill_stores: u32,
    /// Bytes that are read for want of registers.
    pub(super) spill_loads: u32,
}

impl Kernel {
    /// Whether all its values are in registers.
    pub(super) fn is_in_registers(&self) -> bool {
        self.stack == 0 && self.spill_stores == 0 && self.spill_loads == 0
    }
}

/// The kernels, in the order of the log.
pub(super) fn kernels(log: &str) -> Result<Vec<Kernel>> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let (name, _) = rest.split_once('\'').with_context(|| format!("no name: {line}"))?;
            kernels.push(Kernel { name: name.into(), ..Kernel::default() });
        } else if let Some(kernel) = kernels.last_mut() {
            note(kernel, line).with_context(|| format!("ptxas: cannot read {line:?}"))?;
        }
    }
    Ok(kernels)
}

/// Its warnings, and its advice on what makes a kernel slow.
pub(super) fn warnings(log: &str) -> impl Iterator<Item = &str> {
    let is_warning = |line: &&str| line.contains("warning") || line.contains("Performance Loss");
    log.lines().filter(|line| line.starts_with("ptxas")).filter(is_warning)
}

/// Takes in a line that follows the kernel's first. Functions that it calls come after it.
fn note(kernel: &mut Kernel, line: &str) -> Result<()> {
    if let Some((_, used)) = line.split_once(": Used ") {
        kernel.registers = amount(used, " registers")?.context("no registers")?;
        kernel.shared = amount(used, " bytes smem")?.unwrap_or(0);
    } else if line.contains(" bytes stack frame") {
        for (unit, total) in [
            (" bytes stack frame", &mut kernel.stack),
            (" bytes spill stores", &mut kernel.spill_stores),
            (" bytes spill loads", &mut kernel.spill_loads),
        ] {
            *total += amount(line, unit)?.with_context(|| format!("no{unit}"))?;
        }
    }
    Ok(())
}

/// The number before a unit, in a list with commas.
fn amount(list: &str, unit: &str) -> Result<Option<u32>> {
    let amount =
        list.split(',').find_map(|item| item.trim().trim_start_matches("used ").strip_suffix(unit));
    Ok(amount.map(str::parse).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_shared_memory_are_read() {
        let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'cast2' for 'sm_90a'
ptxas info    : Function properties for cast2
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers
ptxas info    : Compile time = 1.856 ms
ptxas info    : Compiling entry function 'cast' for 'sm_90a'
ptxas info    : Function properties for cast
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 1 barriers, 256 bytes smem
ptxas info    : Compile time = 1.610 ms
";
        let kernel = |name: &str, registers, shared| Kernel {
            name: name.into(),
            registers,
            shared,
            ..Kernel::default()
        };
        let kernels = kernels(log).expect("a log");
        assert_eq!(kernels, [kernel("cast2", 12, 0), kernel("cast", 14, 256)]);
        assert!(kernels.iter().all(Kernel::is_in_registers));
        assert_eq!(warnings(log).count(), 0);
    }

    #[test]
    fn spills_are_read() {
        let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spill' for 'sm_90a'
ptxas info    : Function properties for spill
    1328 bytes stack frame, 1340 bytes spill stores, 1420 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 1328 bytes cumulative stack size
ptxas info    : Compile time = 499.496 ms
";
        let [spill] = &kernels(log).expect("a log")[..] else { panic!("the log has one kernel") };
        assert_eq!((spill.registers, spill.shared, spill.stack), (32, 0, 1328));
        assert_eq!((spill.spill_stores, spill.spill_loads), (1340, 1420));
        assert!(!spill.is_in_registers());
    }

    #[test]
    fn functions_that_are_called_count_with_their_kernel() {
        let log = "\
ptxas info    : Compiling entry function 'two' for 'sm_90a'
ptxas info    : Function properties for two
    80 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 1 barriers, 80 bytes cumulative stack size
ptxas info    : Compile time = 2.749 ms
ptxas info    : Function properties for _Z6helperPfi
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
";
        let [two] = &kernels(log).expect("a log")[..] else { panic!("the log has one kernel") };
        assert_eq!((two.stack, two.spill_stores, two.spill_loads), (96, 4, 8));
    }

    #[test]
    fn advice_against_slow_kernels_is_a_warning() {
        let log = "\
ptxas info    : (C7519) warpgroup.arrive is injected in around line 44 by compiler to allow use of registers in GMMA in function 'wg1'
ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are serialized due to insufficient register resources for the wgmma pipeline in the function 'wg1'
ptxas info    : 0 bytes gmem
";
        let warnings: Vec<_> = warnings(log).collect();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("are serialized"));
    }

    #[test]
    fn a_log_that_cannot_be_read_is_an_error() {
        let log = "ptxas info    : Compiling entry function 'a' for 'sm_90a'\n\
                   ptxas info    : Used many registers\n";
        assert!(kernels(log).is_err());
    }
}
