//! What must hold of compiled kernels.

use anyhow::{Context, Result};

use super::{
    compile::{Code, Compiled},
    ptxas::{self, Kernel},
    source::Source,
};

/// The kernels of a source, and what is wrong with them.
pub(super) struct Checked {
    pub(super) kernels: Vec<Kernel>,
    pub(super) violations: Vec<String>,
}

/// Checks a source's kernels for registers and instructions, and that none is lost.
pub(super) fn check(compiled: &Compiled) -> Result<Checked> {
    let source = &compiled.source;
    let (kernels, wrongs) = match &compiled.code {
        Ok(code) => {
            let kernels = ptxas::kernels(&code.log).with_context(|| source.path.clone())?;
            let wrongs = wrongs(source, code, &kernels);
            (kernels, wrongs)
        }
        Err(message) => (Vec::new(), vec![format!("does not compile\n{}", message.trim_end())]),
    };
    let violations = wrongs.iter().map(|wrong| format!("{}: {wrong}", source.path)).collect();
    Ok(Checked { kernels, violations })
}

fn wrongs(source: &Source, code: &Code, kernels: &[Kernel]) -> Vec<String> {
    let mut wrongs = Vec::new();
    if kernels.is_empty() {
        wrongs.push("expected a kernel, found none".into());
    }
    wrongs.extend(kernels.iter().filter(|kernel| !kernel.is_in_registers()).map(local_memory));
    wrongs.extend(lost(source, kernels));
    wrongs.extend(missing(source, &code.ptx));
    wrongs.extend(ptxas::warnings(&code.log).map(str::to_owned));
    wrongs
}

fn local_memory(kernel: &Kernel) -> String {
    let Kernel { name, registers, stack, spill_stores, spill_loads, .. } = kernel;
    format!(
        "kernel {name}: expected no local memory, found {stack} bytes of it, {spill_stores} bytes of spill stores and \
         {spill_loads} of spill loads at {registers} registers"
    )
}

/// A kernel that stands in the source, and not under its own name in the machine code.
fn lost(source: &Source, kernels: &[Kernel]) -> Vec<String> {
    let mut names = source.kernels();
    names.retain(|name| kernels.iter().all(|kernel| kernel.name != *name));
    let message = |name| {
        format!("kernel {name}: expected it in the machine code, found it in the source alone")
    };
    names.into_iter().map(message).collect()
}

fn missing(source: &Source, ptx: &str) -> Vec<String> {
    let missing = source.expected().filter(|instruction| !has_instruction(ptx, instruction));
    missing
        .map(|instruction| format!("expected the instruction {instruction}, found it in no kernel"))
        .collect()
}

/// Whether the instruction stands in the code, alone or with further qualifiers.
fn has_instruction(ptx: &str, instruction: &str) -> bool {
    let lines = ptx.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut words = lines.flat_map(|line| line.split([' ', '\t', ';', '{', '}']));
    words.any(|word| {
        let rest = word.strip_prefix(instruction);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str = "
.visible .entry cast(
	.param .u64 cast_param_0
)
{
	@%p1 bra 	$L__BB0_2;
	mul.rn.f32 	%f3, %f5, %f1;
	// begin inline asm
	cvt.rn.satfinite.e4m3x2.f32 %rs1, %f3, %f4;
	// end inline asm, no fma.rn.f32
	{.reg .pred p;wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {%f1}, %rd1, %rd1, p, 1, 1;}
	ret;
}
";
    const LOG: &str = "\
ptxas info    : Compiling entry function 'cast' for 'sm_90a'
ptxas info    : Function properties for cast
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 1 barriers, 256 bytes smem
";

    fn violations(text: &str, log: &str) -> Vec<String> {
        let code = Code { ptx: PTX.into(), log: log.into() };
        let source = Source { path: "kernels/cast.cu".into(), text: text.into() };
        let compiled = Compiled { source, code: Ok(code), is_unchanged: false };
        check(&compiled).expect("a log that can be read").violations
    }

    #[test]
    fn instructions_are_found_whole_or_by_their_first_parts() {
        for instruction in
            ["mul.rn.f32", "mul.rn", "cvt.rn.satfinite.e4m3x2.f32", "wgmma.mma_async"]
        {
            assert!(has_instruction(PTX, instruction), "{instruction}");
        }
        for instruction in ["mul.rn.f3", "mul.rn.f32x2", "fma.rn.f32", "rn.f32", "entry"] {
            assert!(!has_instruction(PTX, instruction), "{instruction}");
        }
    }

    #[test]
    fn what_is_as_expected_is_left_alone() {
        let text = "// expects: mul.rn.f32\nextern \"C\" __global__ void cast(View x) {}\n";
        assert_eq!(violations(text, LOG), [""; 0]);
    }

    #[test]
    fn a_missing_instruction_and_a_lost_kernel_are_named() {
        let text = "// expects: fma.rn.f32\n__global__ void cast() {}\n__global__ void lost() {}\n";
        assert_eq!(
            violations(text, LOG),
            [
                "kernels/cast.cu: kernel lost: expected it in the machine code, found it in the source alone",
                "kernels/cast.cu: expected the instruction fma.rn.f32, found it in no kernel",
            ]
        );
    }

    #[test]
    fn a_spill_is_named() {
        let log = LOG.replace("0 bytes spill loads", "12 bytes spill loads");
        let expected = "kernels/cast.cu: kernel cast: expected no local memory, found 0 bytes of it, 0 bytes of spill \
                        stores and 12 of spill loads at 14 registers";
        assert_eq!(violations("", &log), [expected]);
    }

    #[test]
    fn a_source_without_kernels_and_a_warning_are_violations() {
        let log = "ptxas warning : Value of threads per SM for entry cast is out of range\n";
        let [none, warning] = &violations("", log)[..] else { panic!("expected two violations") };
        assert_eq!(none, "kernels/cast.cu: expected a kernel, found none");
        assert!(warning.starts_with("kernels/cast.cu: ptxas warning"), "{warning}");
    }

    #[test]
    fn a_source_that_does_not_compile_is_a_violation() {
        let source = Source { path: "kernels/cast.cu".into(), text: String::new() };
        let code = Err("kernels/cast.cu(4): error: expected a \";\"\n".into());
        let checked =
            check(&Compiled { source, code, is_unchanged: false }).expect("no log to read");
        let expected =
            "kernels/cast.cu: does not compile\nkernels/cast.cu(4): error: expected a \";\"";
        assert_eq!(checked.violations, [expected]);
    }
}
