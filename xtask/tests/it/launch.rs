//! `cargo xtask launch` with a shell script in the program's place: what it starts, and what it refuses.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

use tempfile::TempDir;

/// A folder whose name a shell would take apart, with a program in it.
struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    /// One that knows the configuration `tiny` alone, and otherwise tells what it was started with.
    fn new() -> Self {
        Self::called("it's a \"$place\" \\ for runs")
    }

    /// Without what Slurm itself reads otherwise.
    fn of_slurm() -> Self {
        Self::called("it's a \"$place\" for runs")
    }

    fn called(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        let place = Self { _folder: folder, path };
        place.program(
            "fp8lm",
            r#"[ "$*" = "plan --toml --preset tiny --set run.seed='\"7" ] && { echo "[parallel]"; exit; }
               [ "$1" = plan ] && { echo "fp8lm: error: no preset is called so" >&2; exit 1; }
               printf '[%s]' "$@"; exit 75"#,
        );
        place
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Launches to the folder `run`, with programs of this place alone.
    fn launch(&self, launcher: &str, preset: &str, options: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["launch", launcher, preset, "--program"]).arg(self.path.join("fp8lm"));
        command.args(["--set", "run.seed='\"7", "--run", "run"]).args(options);
        command.env("PATH", &self.path).current_dir(&self.path).output().unwrap()
    }

    fn symlink_to_shell(&self) {
        std::os::unix::fs::symlink("/bin/sh", self.path.join("sh")).unwrap();
    }

    fn words(&self, words: &[&str]) -> String {
        let place = self.path.to_str().unwrap();
        words.iter().map(|word| format!("[{}]", word.replace("PLACE", place))).collect()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn expect_error(output: &Output, start: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.starts_with(&format!("error: {start}")), "{message}");
    assert_eq!(stdout(output), "");
}

/// What every process is told.
const TRAIN: [&str; 7] =
    ["PLACE/fp8lm", "train", "--preset", "tiny", "--set", "run.seed='\"7", "--run"];

#[test]
fn shells_read_paths_and_keys_back_as_they_were() {
    let place = Place::new();
    place.symlink_to_shell();
    place.program("mpirun", "exit 0");
    place.program("torchrun", r#"[ "$1" = --help ] || printf '[%s]' "$@""#);
    let local =
        ["spawn", "--processes", "1", "--max-restarts", "3", "--logs", "PLACE/run.logs", "--"];
    let output = place.launch("local", "tiny", &[]);
    assert_eq!(output.status.code(), Some(75), "the program's own");
    let rest = ["PLACE/run", "--restart"];
    assert_eq!(stdout(&output), place.words(&[&local[..], &TRAIN, &rest].concat()));
    assert!(place.path.join("run.logs/job.sh").exists());

    let output = place.launch("mpi", "tiny", &["--max-restarts", "0"]);
    let mpi = ["spawn", "--mpirun", "--max-restarts", "0", "--logs", "PLACE/run.logs", "--"];
    let mpirun = ["mpirun", "-n", "1", "--map-by", "ppr:1:node:oversubscribe", "--bind-to", "none"];
    let output_filename = ["--output-filename", "PLACE/run.logs:nojobid"];
    let rest = ["PLACE/run", "--restart", "--link", "mpi"];
    let expected = [&mpi[..], &mpirun, &output_filename, &TRAIN, &rest].concat();
    assert_eq!(stdout(&output), place.words(&expected));

    let output = place.launch("torchrun", "tiny", &[]);
    let torchrun = ["--nnodes=1", "--nproc-per-node=1", "--max-restarts=3", "--standalone"];
    let logs = ["--log-dir=PLACE/run.logs", "--redirects=3", "--tee=0:3", "--no-python"];
    let expected = [&torchrun[..], &logs, &TRAIN, &["PLACE/run", "--restart"]].concat();
    assert_eq!(stdout(&output), place.words(&expected));
}

#[test]
fn what_starts_a_job_gets_the_text_that_a_dry_run_prints() {
    let place = Place::of_slurm();
    place.symlink_to_shell();
    let dry = place.launch("slurm", "tiny", &["--dry-run"]);
    assert!(dry.status.success() && stdout(&dry).starts_with("#!"), "{dry:?}");
    assert!(!place.path.join("run.logs").exists(), "a dry run writes nothing");
    place.program("sbatch", r#"[ "$1" = --version ] || { : <"$2" && echo "7;cluster"; }"#);
    let submitted = place.launch("slurm", "tiny", &[]);
    assert!(submitted.status.success(), "{submitted:?}");
    assert!(stdout(&submitted).starts_with("job 7: run: data 1 x"), "{submitted:?}");
    assert_eq!(fs::read(place.path.join("run.logs/job.sbatch")).unwrap(), dry.stdout);

    place.program("kubectl", r#"[ "$1" = version ] || { echo "$*"; exec /bin/cat; }"#);
    let k8s = ["--image", "i", "--claim", "c"];
    let dry = place.launch("k8s", "tiny", &[&k8s[..], &["--dry-run"]].concat());
    let applied = place.launch("k8s", "tiny", &k8s);
    assert_eq!(stdout(&applied), format!("apply --filename -\n{}", stdout(&dry)));
}

#[test]
fn a_job_of_slurm_is_shown_from_its_submission_to_its_end() {
    let place = Place::of_slurm();
    place.program("sbatch", "echo 7");
    for (end, code) in [("COMPLETED", 0), ("FAILED", 1)] {
        // It runs when it is looked at first, and has ended at the second look.
        let script = format!(
            "echo \"$4 $5\" >>run.logs/job.log
            if [ -e {end} ]; then echo JobId=7 JobState={end} Reason=None; exit; fi
            : >{end}; echo JobId=7 JobState=RUNNING"
        );
        place.program("scontrol", &script);
        let output = place.launch("slurm", "tiny", &["--wait"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let text = stdout(&output);
        let (_, shown) = text.split_once('\n').unwrap();
        assert_eq!(shown, format!("7 \n7 \njob 7: {end}\n"), "the log, but not of a job before");
    }
}

#[test]
fn what_cannot_be_launched_is_told_in_a_sentence() {
    let place = Place::of_slurm();
    let k8s = ["--image", "i", "--claim", "c"];
    for (launcher, tool) in
        [("mpi", "mpirun"), ("torchrun", "torchrun"), ("slurm", "sbatch"), ("k8s", "kubectl")]
    {
        let options: &[_] = if launcher == "k8s" { &k8s } else { &[] };
        expect_error(&place.launch(launcher, "tiny", options), &format!("{tool} is missing: "));
    }
    assert!(!place.path.join("run.logs").exists(), "nothing was begun");
    expect_error(&place.launch("local", "no-preset", &[]), "no preset is called so\n");
    fs::rename(place.path.join("fp8lm"), place.path.join("elsewhere")).unwrap();
    expect_error(&place.launch("local", "tiny", &[]), "cannot run ");
    fs::rename(place.path.join("elsewhere"), place.path.join("fp8lm")).unwrap();

    fs::create_dir(place.path.join("run")).unwrap();
    fs::write(place.path.join("run/config.toml"), "").unwrap();
    let output = place.launch("local", "tiny", &[]);
    expect_error(&output, &format!("{} holds a run: ", place.path.join("run").display()));
    place.symlink_to_shell();
    assert_eq!(place.launch("local", "tiny", &["--resume"]).status.code(), Some(75));
    assert!(place.launch("local", "tiny", &["--dry-run"]).status.success());
}

#[test]
fn a_wrong_command_line_is_told_too() {
    for args in
        [&["launch"][..], &["launch", "local"], &["launch", "slurm", "tiny"], &["launch", "cloud"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["launch", "k8s", "--help"]).output();
    let text = stdout(&help.unwrap());
    assert!(text.contains("--claim") && text.contains("--max-restarts"), "{text}");
}
