//! Holds a launch against the table.

use fp8lm_device::{Arg, Error, Launch, Result};

use crate::{Kernel, Kind, Param, find};

/// Finds a launch's kernel, and checks the number, kinds and types of its arguments, and that
/// nothing it writes overlaps another argument.
pub fn check(launch: &Launch) -> Result<&'static Kernel> {
    let name = launch.kernel();
    let kernel = find(name).ok_or(Error::UnknownKernel { kernel: name })?;
    check_count(kernel, launch)?;
    for (index, (param, arg)) in kernel.params.iter().zip(launch.args()).enumerate() {
        if !fits(&param.kind, arg) {
            return Err(misfit(kernel, index, param, format!("{arg:?}")));
        }
    }
    check_overlap(kernel, launch.args())?;
    Ok(kernel)
}

fn check_count(kernel: &Kernel, launch: &Launch) -> Result<()> {
    let (expected, got) = (kernel.params.len(), launch.args().len());
    if expected == got {
        return Ok(());
    }
    Err(Error::Argument {
        kernel: kernel.name,
        index: expected.min(got),
        name: "all",
        expected: format!("{expected} arguments"),
        got: got.to_string(),
    })
}

fn fits(kind: &Kind, arg: &Arg) -> bool {
    match (kind, arg) {
        (Kind::Read(types), Arg::Read(view))
        | (Kind::Write(types), Arg::Write(view))
        | (Kind::Update(types), Arg::Update(view)) => types.contains(&view.dtype()),
        (Kind::U32, Arg::U32(_)) | (Kind::U64, Arg::U64(_)) | (Kind::F32, Arg::F32(_)) => true,
        _ => false,
    }
}

fn misfit(kernel: &Kernel, index: usize, param: &Param, got: String) -> Error {
    let expected = format!("{:?}", param.kind);
    Error::Argument { kernel: kernel.name, index, name: param.name, expected, got }
}

fn check_overlap(kernel: &Kernel, args: &[Arg]) -> Result<()> {
    for (written, arg) in args.iter().enumerate().filter(|(_, arg)| arg.is_written()) {
        for (other, another) in args.iter().enumerate() {
            let overlap = match (arg.view(), another.view()) {
                (Some(a), Some(b)) => written != other && a.overlaps(b),
                _ => false,
            };
            if overlap {
                return Err(Error::Overlap { kernel: kernel.name, written, other });
            }
        }
    }
    Ok(())
}
